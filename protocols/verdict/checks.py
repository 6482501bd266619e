"""What an evaluation refuses, what it notes, and the scale on which it standardises responses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from encoders.metrics import signal_sd
from protocols.arrays import Floats
from protocols.errors import DataError
from protocols.project.key import Key, read_key
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.responses import Responses
from protocols.recordings.trial_table import TrialTable, image_means

from .records import ControlRow
from .scores import NaturalScale

OUT_OF_REACH = "E06"


def _error(code: str, found: str, expected: str, *, cause: str, fix: str) -> DataError:
    return DataError("evaluate", found=found, expected=expected, cause=cause, fix=fix, code=code)


def check_inputs(responses: Responses, key: Key, unit: str | None) -> None:
    """Refuse responses and key that do not belong together (E01, E03, E07), have no controllers (E02, E05) or nothing
    that a controller could be compared with (K04).
    """
    recorded, keyed = sorted(set(map(str, responses.image_ids))), sorted(r.image_id for r in key.rows)
    if not set(recorded) & set(keyed):
        raise _error(
            "E01",
            f"the images {', '.join(recorded[:3]) or 'none'} ... in the responses and "
            f"{', '.join(keyed[:3]) or 'none'} ... in the key",
            "responses to images of this key",
            cause="wrong round: the responses and the key belong to different rounds",
            fix="give the sealed/key.csv of the round whose images were shown",
        )
    if unit is not None and unit != responses.unit:
        raise _error(
            "E03",
            f"responses in {responses.unit}",
            f"{unit}, the unit of the key's predictions",
            cause="the recording was exported in another unit than the baseline",
            fix="write the responses in the unit of the baseline",
        )
    targets = {s.site_id for s in key.sites} or {r.target for r in key.of_role("controller")}
    if not targets & set(responses.site_ids):
        raise _error(
            "E07",
            f"the sites {', '.join(sorted(responses.site_ids)[:3])} ... in the responses",
            f"some of {', '.join(sorted(targets)[:3])} ...",
            cause="sites were renamed or numbered anew after the baseline",
            fix="give every site the id it had in the baseline",
        )
    _check_controllers(key)
    _check_references(key)


def check_excluded(responses: Responses, key: Key, excluded: Mapping[str, str]) -> None:
    """Refuse to exclude a site that is neither recorded nor in the key (E09), or without a reason."""
    known = {*responses.site_ids, *key.site_ids, *(r.target for r in key.of_role("controller"))}
    unknown = sorted(set(excluded) - known)
    if unknown:
        raise _error(
            "E09",
            f"the sites {', '.join(unknown[:3])} to exclude",
            f"some of {', '.join(sorted(known)[:3])} ...",
            cause="exclusions of another round or subject, or a misspelt id",
            fix="give the ids as they stand in the responses",
        )
    if not all(excluded.values()):
        raise ValueError("an excluded site needs a reason")


def _check_controllers(key: Key) -> None:
    controllers = key.of_role("controller")
    if not controllers:
        raise _error(
            "E02",
            f"{len(key.rows)} images and no controller among them",
            "at least one row of role controller",
            cause="the key belongs to a baseline round",
            fix="evaluate a round that shows controllers",
        )
    counts: dict[tuple[str, str], int] = {}
    for row in controllers:
        counts[row.objective, row.target] = counts.get((row.objective, row.target), 0) + row.confirmatory
    several = sorted(pair for pair, n in counts.items() if n > 1)
    if several or not any(counts.values()):
        first = f"{several[0][0]}:{several[0][1]}" if several else ""
        raise _error(
            "E05",
            f"{counts[several[0]]} confirmatory controllers for {first}" if several else "no confirmatory controller",
            "one confirmatory controller per site and objective, marked before the responses were seen",
            cause="the key was written by hand, or the choice among seeds was not made at export",
            fix="mark one controller per site and objective with confirmatory = 1, chosen by prediction alone",
        )


def _check_references(key: Key) -> None:
    """Refuse a key that lists natural images for none of its controllers: every one would be left out (K04)."""
    controllers = [r for r in key.of_role("controller") if r.confirmatory]
    wanted = sorted({(r.objective, r.target) for r in controllers if r.objective in OBJECTIVES})
    references = key.of_role("reference")
    named = sorted({pair for r in references for pair in r.reference_for})
    if wanted and references and not set(named) & set(wanted):
        raise _error(
            "K04",
            f"{len(references)} references, for {', '.join(':'.join(p) for p in named[:3]) or 'no controller'}",
            f"references for some of {', '.join(':'.join(p) for p in wanted[:3])}",
            cause="a key written by hand: reference_for is empty, or names other objectives or sites",
            fix="name in reference_for, as OBJECTIVE:SITE, the objective and target of the controllers that each image "
            "is a reference for",
        )
    if not references and not key.of_role("natural"):
        raise _error(
            "K04",
            f"{len(controllers)} controllers and no natural image",
            "rows of role reference, or of role natural",
            cause="the natural images were left out of the key",
            fix="add the natural images that were shown, as role reference with reference_for",
        )


def check_reachable(alpha: float, rows: Sequence[ControlRow]) -> None:
    """Refuse an alpha that no confirmatory controller could reach (E06)."""
    tested = [r for r in rows if r.confirmatory and r.smallest_p is not None]
    if tested and all(r.verdict == "not testable" and (r.smallest_p or 1.0) > alpha for r in tested):
        best = min(tested, key=lambda r: (r.smallest_p or 1.0, r.site))
        raise _error(
            OUT_OF_REACH,
            f"alpha {alpha:g} below the smallest reachable p {best.smallest_p:.3g} at every site",
            "enough repeats and permutations for a p below alpha",
            cause="too few repeats of controllers and references were shown, or too few permutations asked for",
            fix=best.reason,
        )


def input_notes(responses: Responses, key: Key, excluded: Mapping[str, str]) -> list[str]:
    """One sentence for every kind of trial or site that is left out or only described."""
    keyed = {r.image_id for r in key.rows}
    notes = [str(note) for note in responses.attributes.get("notes", ())]
    notes += [f"site {site} is excluded from every count: {reason}" for site, reason in excluded.items()]
    unknown = sorted({str(i) for i in responses.image_ids} - keyed)
    if unknown:
        trials = int(np.isin(responses.image_ids, unknown).sum())
        notes.append(
            f"{trials} trials of {len(unknown)} images that are not in the key are left out ({', '.join(unknown[:3])})"
        )
    unusable = len(responses.values) - len(responses.usable().values)
    if unusable:
        notes.append(f"{unusable} trials are marked invalid or have no finite value and are left out")
    if responses.averaged_over is not None:
        notes.append(
            "averages over repeats, no single trials: nothing is tested, the best natural average is inflated by noise"
        )
    return notes


def one_row_an_image(responses: Responses, key: Key) -> Responses:
    """Averages pooled to one row per image, weighted by their repeats."""
    images = sorted({str(i) for i in responses.image_ids} & {r.image_id for r in key.rows})
    return Responses(
        values=responses.mean(images),
        image_ids=np.array(images),
        site_ids=responses.site_ids,
        unit=responses.unit,
        window_ms=responses.window_ms,
    )


def natural_scale(
    table: TrialTable, key: Key, excluded: Mapping[str, str], *, one_hot: bool = True
) -> tuple[NaturalScale, list[str]]:
    """Site set, natural mean and SD: frozen in the key; without ``sites.csv`` from this round's natural images.

    Excluded sites, sites that were hardly recorded and sites without a natural SD leave the set, each with a note where
    `one_hot` is judged.
    """
    naturals = sorted(r.image_id for r in key.of_role("natural"))
    means, spread = image_means(table, naturals), _natural_sd(table, naturals)
    if key.sites:
        statistics = {s.site_id: (s.natural_mean, s.natural_sd) for s in key.sites}
        judged = {s: v for s, v in statistics.items() if s not in excluded}
        notes = _check_scale(table, judged, means, spread=spread)
    else:
        statistics = _statistics_of_this_round(table, means, spread=spread)
        notes = [
            f"no sites.csv beside the key: natural mean and SD come from this round's {len(naturals)} natural images"
        ]
    lost = _left_out(table, statistics, excluded)
    if one_hot:
        notes += [f"one_hot leaves out site {s}: {why}" for s, why in sorted(lost.items())]
    kept = tuple(s for s in table.site_ids if s in statistics and s not in lost)
    mean, sd = (np.array([statistics[s][i] for s in kept]) for i in (0, 1))
    return NaturalScale(kept, mean, sd), notes


def _natural_sd(table: TrialTable, naturals: Sequence[str]) -> Floats:
    """SD of the natural images' responses without trial noise, shape (U,)."""
    rows = [table.rows(image) for image in naturals]
    trials = table.values[np.concatenate([np.zeros(0, np.int64), *rows])]
    return signal_sd(trials, np.repeat(np.arange(len(rows)), [len(r) for r in rows]), len(rows))


def _statistics_of_this_round(table: TrialTable, means: Floats, *, spread: Floats) -> dict[str, tuple[float, float]]:
    """Natural mean and SD of each site, from at least three natural images; else NaN and 0."""
    recorded = np.isfinite(means).sum(0) >= 3
    return {
        s: (float(np.nanmean(means[:, i])), float(spread[i])) if recorded[i] else (math.nan, 0.0)
        for i, s in enumerate(table.site_ids)
    }


def _left_out(
    table: TrialTable, statistics: Mapping[str, tuple[float, float]], excluded: Mapping[str, str]
) -> dict[str, str]:
    """Sites that cannot be in the site set, with the reason."""
    share = np.isfinite(table.values).mean(0) if len(table.values) else np.zeros(len(table.site_ids))
    lost = {
        s: "not recorded" if s not in table.site_ids else "recorded in less than half of the trials"
        for s in sorted(statistics)
        if s not in table.site_ids or share[table.site_ids.index(s)] < 0.5
    }
    lost |= {s: "excluded" for s in statistics if s in excluded}
    return lost | {s: "no natural SD" for s, (m, sd) in statistics.items() if not (math.isfinite(m) and sd > 0)}


def _check_scale(
    table: TrialTable, frozen: dict[str, tuple[float, float]], means: Floats, *, spread: Floats
) -> list[str]:
    """Refuse a spread of natural responses 8 times off the key's (counts against rates); note it from 3 times on."""
    ratios = []
    for i, site in enumerate(table.site_ids):
        if np.isfinite(means[:, i]).sum() >= 8 and frozen.get(site, (0.0, 0.0))[1] > 0:
            ratios.append(float(spread[i]) / frozen[site][1])
    ratio = float(np.median(ratios)) if len(ratios) >= 3 else 1.0
    if not 1 / 8 < ratio < 8:
        raise _error(
            "E04",
            f"natural responses that vary {ratio:.3g} times as much as frozen in the key "
            f"(median of {len(ratios)} sites)",
            "about the same spread",
            cause="another unit or response window than in the baseline, such as spikes against spikes/s, or another "
            "subject",
            fix="write the responses in the baseline's unit, or evaluate without the sites.csv beside the key",
        )
    off = f"natural responses vary {ratio:.2g} times as much as frozen in the key: check unit, window and gain"
    return [] if 1 / 3 < ratio < 3 else [off]


def read_key_to_judge(path: str | Path) -> Key:
    """Read a key that may have been written by hand, for verdicts; see `read_key`.

    Raises
    ------
    DataError
        As `read_key`; K05: none of its controllers has an objective that is known.
    """
    key = read_key(path)
    named = list(dict.fromkeys(row.objective for row in key.of_role("controller")))
    if named and not set(named) & set(OBJECTIVES):
        raise DataError(
            str(path),
            found=f"controllers of the objective {named[0]!r}",
            expected=f"one of {', '.join(OBJECTIVES)} in the column objective",
            cause="a key written by hand, with another word or an empty cell",
            fix="write the objective of each controller as it is spelt here",
            code="K05",
        )
    return key
