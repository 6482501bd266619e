"""What the answer to an export must fulfil beside what every recording must; each check raises `DataError` or notes."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.key import SiteRow
from protocols.project.outbox import PlannedTrial, broken_seals

from .quality.earlier import compare_with_earlier, earlier_recordings
from .quality.values import check_values
from .responses import Responses

# Factors between the file's and the encoder's typical response: beyond the first the unit is wrong, beyond the second
# a note is added.
# Controllers may raise single sites several-fold, hence the median over sites.
_WRONG_SCALE, _ODD_SCALE = 30.0, 5.0
# Longest time after the end of a presentation in which a response window may still begin.
_LATEST_MS = 1000.0


def sealed(round_: Round, manifest: dict[str, Any]) -> None:
    """I18: the sealed key is not the one that belongs to this outbox (only its hash is looked at)."""
    for name, entry in broken_seals(round_.sealed, manifest).items():
        raise DataError(
            f"{round_.place}/sealed/{name}",
            found="another file than the one sealed at export" if (round_.sealed / name).is_file() else "no such file",
            expected=f"the file whose SHA-256 stands in manifest.json ({entry})",
            cause="it was edited, or the folder was put together from two exports",
            fix="restore it from a backup",
            code="I18",
        )


def belongs(
    round_: Round,
    path: Path,
    responses: Responses,
    *,
    manifest: dict[str, Any],
    accept: Mapping[str, str],
    notes: list[str],
) -> None:
    """Whether the file answers this round, in the unit, window and subject of the project."""
    manifest_sha256 = sha256_file(round_.outbox / "manifest.json")
    identity(path, responses, round_, manifest_sha256=manifest_sha256, notes=notes)
    images(path, responses, [e["image_id"] for e in manifest["images"]])
    unit_and_window(path, responses, manifest, notes=notes)
    others = earlier_recordings(Project(round_.home), but=round_.number)
    compare_with_earlier(path, responses, others, accept=accept, notes=notes)


def identity(path: Path, responses: Responses, round_: Round, *, manifest_sha256: str, notes: list[str]) -> None:
    """I05: the file names another manifest; I06: another session or round. What it does not name is noted."""
    stated = responses.attributes
    if "manifest_sha256" not in stated:
        notes.append("the file does not name its manifest (attribute manifest_sha256); joined by image ids alone")
    elif str(stated["manifest_sha256"]).lower() != manifest_sha256:
        raise DataError(
            path.name,
            found=f"manifest_sha256 {str(stated['manifest_sha256'])[:12]}...",
            expected=f"{manifest_sha256[:12]}..., the manifest of {round_.session_id} round {round_.number}",
            cause="the answer belongs to another round, or the manifest was changed after the rig copied it",
            fix="give the file to its own round",
            code="I05",
        )
    for name, expected in (("session_id", round_.session_id), ("round", round_.number)):
        if name in stated and str(stated[name]).removesuffix(".0") not in {
            str(expected),
            f"{expected:>02}",
            f"round_{expected:>02}",
        }:
            raise DataError(
                path.name,
                found=f"{name} = {stated[name]!r}",
                expected=repr(expected),
                cause="the answer belongs to another round or day",
                fix="give the file to its own round, or leave the attribute out",
                code="I06",
            )


def images(path: Path, responses: Responses, known: Sequence[str]) -> None:
    """I07: an image that was not exported in this round; rows that are not used may name any."""
    unknown = sorted({str(i) for i in responses.usable().image_ids} - set(known))
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], known, n=1, cutoff=0.0)[0]
    others = {u.split("_")[0] for u in unknown} - {k.split("_")[0] for k in known}
    raise DataError(
        path.name,
        found=f"{len(unknown)} unknown image ids ({', '.join(unknown[:5])})",
        expected=f"ids of images.csv (nearest to {unknown[0]}: {near})",
        cause="wrong round?"
        if len(others) == 1
        else "ids were changed on the way, or the file belongs to another round",
        fix="give the file to the round whose images were shown; write the ids as images.csv has them",
        code="I07",
    )


def unit_and_window(path: Path, responses: Responses, manifest: dict[str, Any], *, notes: list[str]) -> None:
    """I08: a unit other than the encoder's; I17: a window that cannot hold a response.

    A window other than the planned one is noted.
    """
    unit = (manifest.get("encoder") or {}).get("unit")
    if unit is not None and unit != responses.unit:
        raise DataError(
            path.name,
            found=f"units = {responses.unit!r}",
            expected=f"{unit!r}, the unit that the encoder was fitted in",
            cause="the export settings of the recording software changed since the baseline",
            fix=f"write the responses in {unit}, or correct the attribute units",
            code="I08",
        )
    if responses.window_ms is None:
        return
    timing = manifest["timing"]
    begin, end = responses.window_ms
    window_after_onset(path, responses, latest_ms=timing["on_ms"] + timing["off_ms"] + _LATEST_MS)
    if [begin, end] != [float(t) for t in timing["response_window_ms"]]:
        planned = "-".join(f"{t:g}" for t in timing["response_window_ms"])
        notes.append(
            f"the response window is {begin:g}-{end:g} ms; {planned} ms was planned; if the recording is right, set "
            f"[protocol] response_window_ms = [{begin:g}, {end:g}]"
        )


def window_after_onset(path: Path, responses: Responses, *, latest_ms: float = float("inf")) -> None:
    """I17: a window that ends before the image comes, or begins `latest_ms` or more after it."""
    if responses.window_ms is None:
        return
    begin, end = responses.window_ms
    if end <= 0 or begin >= latest_ms:
        raise DataError(
            path.name,
            found=f"window_ms = [{begin:g}, {end:g}]",
            expected="a window after image onset"
            + (f", which begins less than {latest_ms:g} ms after it" if latest_ms < float("inf") else ""),
            cause="the window is relative to the trial's or the recording's begin, not to image onset",
            fix="give the window in ms after the onset of the image",
            code="I17",
        )


def site_order(path: Path, responses: Responses, wanted: tuple[str, ...], *, notes: list[str]) -> tuple[str, ...]:
    """The sites in canonical order: `wanted` first, then others by name. I09: a wanted site is missing."""
    present = set(responses.site_ids)
    missing = [s for s in wanted if s not in present]
    others = sorted(present - set(wanted))
    if missing:
        near = difflib.get_close_matches(missing[0], others, n=1)
        raise DataError(
            path.name,
            found=f"{len(missing)} of {len(wanted)} sites missing ({', '.join(missing[:5])}), "
            f"{len(others)} unknown ({', '.join(others[:5]) or 'none'})",
            expected="every site of the encoder under the name it had",
            cause=f"sites were renamed ({missing[0]} -> {near[0]}?)" if near else "sites were left out or renamed",
            fix="write the names of the baseline recording; a site that is lost stays as a column of NaN",
            code="I09",
        )
    if wanted and others:
        notes.append(f"{len(others)} sites that the encoder does not have were kept ({', '.join(others[:5])})")
    return (*wanted, *others)


def values(path: Path, responses: Responses, sites: Sequence[SiteRow], *, notes: list[str]) -> None:
    """I14: values that the unit does not allow; I16: nothing recorded; I15: far from the encoder's natural ones."""
    check_values(path, responses)
    _scale(path, responses, sites, notes=notes)


def _scale(path: Path, responses: Responses, sites: Sequence[SiteRow], *, notes: list[str]) -> None:
    """Typical response (root mean square over trials) against the natural one of the encoder, median over sites."""
    ratios = []
    for site in sites:
        typical = np.hypot(site.natural_mean, site.natural_sd)
        column = (
            responses.values[:, responses.site_ids.index(site.site_id)]
            if site.site_id in responses.site_ids
            else np.array([])
        )
        finite = column[np.isfinite(column)]
        if typical > 0 and np.any(finite):
            ratios.append(float(np.sqrt(np.mean(finite**2)) / typical))
    if not ratios:
        return
    ratio = float(np.median(ratios))
    if not 1 / _WRONG_SCALE <= ratio <= _WRONG_SCALE:
        raise DataError(
            path.name,
            found=f"responses about {ratio:.3g} times those that the encoder was fitted on",
            expected="responses of the same size and unit as in the baseline",
            cause="spikes per second against counts in the window (Hz or counts), or a window in ms read as s "
            "(ms or s)",
            fix="write the responses in the unit and with the window of the baseline recording",
            code="I15",
        )
    if not 1 / _ODD_SCALE <= ratio <= _ODD_SCALE:
        notes.append(
            f"responses are about {ratio:.2g} times those that the encoder was fitted on: check unit and window"
        )


def coverage(
    path: Path, responses: Responses, order: list[PlannedTrial], *, max_unseen: float, section: str
) -> dict[str, int]:
    """Missing trials by image. I12: too many planned images without a single usable row.

    `section`: of project.toml, where the limit stands.
    """
    planned = Counter(t.image_id for t in order)
    if responses.averaged_over is None:
        used = Counter(str(i) for i in responses.image_ids)
    else:
        used = Counter(dict(zip((str(i) for i in responses.image_ids), responses.averaged_over.tolist(), strict=True)))
    unseen = [i for i in planned if not used[i]]
    if len(unseen) > max_unseen * len(planned):
        needed = min(1.0, float(np.ceil(len(unseen) / len(planned) * 100) / 100))
        raise DataError(
            path.name,
            found=f"{len(unseen)} of {len(planned)} planned images without a usable row ({', '.join(unseen[:5])})",
            expected=f"at most {max_unseen:.0%}",
            cause="the recording was stopped early, the file was cut, or it belongs to another round",
            fix="record the rest; to accept what there is, set "
            f"[{section}] max_unseen = {needed:g} in project.toml, or give `stimsynth ingest --max-unseen {needed:g}`",
            code="I12",
        )
    return {i: n - used[i] for i, n in sorted(planned.items()) if used[i] < n}
