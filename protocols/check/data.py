"""Looks at what was brought and recorded: photographs, rounds, responses, and whether they still fit project.toml."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from protocols.disk.pictures import open_picture
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.decisions.standing import read_standing
from protocols.project.folder import Project, Round
from protocols.project.photograph_warnings import photograph_warnings
from protocols.project.photographs import NaturalImages, drawn_for_another
from protocols.recordings.dataset import baseline

from .findings import TOML, Finding

LARGE_SHARE = 0.4  # of the photographs held out


def photographs(project: Project) -> Iterator[Finding | Exception]:
    """The table of photographs and its files."""
    if not (project.data / "natural.csv").is_file():
        if any(r.outbox.is_dir() for r in project.rounds()) or (project.data / "responses.h5").is_file():
            yield _gone(project, "natural.csv", "the table of photographs that the rounds were made from")
        else:
            text = "none yet: `stimsynth export --baseline IMAGES` imports them"
            yield Finding("note", "photographs", text)
        return
    natural = NaturalImages.load(project.data)
    if other := _other_size(project, natural):
        yield other
        return
    groups = len(set(natural.groups))
    yield Finding("ok", "photographs", f"{len(natural.source_ids)} images of {groups} source photographs")
    elsewhere = (project.data / "recording.json").is_file()
    for text in photograph_warnings(natural, project.display, shown_elsewhere=elsewhere):
        yield Finding("note", "photographs", text)


def _other_size(project: Project, natural: NaturalImages) -> DataError | None:
    """The first photograph of another size or colour than the display, by the heads of the files."""
    shown = project.display
    wanted = (shown.width_px, shown.height_px, "L" if shown.colour == "grey" else "RGB")
    for row in natural.rows:
        with open_picture(natural.folder / row.filename) as picture:
            found = (*picture.size, picture.mode)
        if found != wanted:
            return drawn_for_another("{} x {} px, {}".format(*found), "{} x {} px, {}".format(*wanted), row.filename)
    return None


def display(project: Project) -> Iterator[Finding | Exception]:
    """The display, and whether the photographs were imported for it."""
    shown = project.display
    text = (
        f"{shown.width_px} x {shown.height_px} px, {shown.size_deg} deg wide ({shown.px_per_deg:.1f} px/deg), "
        f"{shown.colour}, {shown.encoding}, background {shown.background}"
    )
    if (project.data / "natural.csv").is_file():
        natural, mask = NaturalImages.load(project.data), shown.aperture_mask()
        for row in natural.rows[:3]:
            pixels = read_png(natural.folder / row.filename)
            if mask is not None and (pixels[mask.numpy() == 0] != shown.background).any():
                yield drawn_for_another("pixels outside the aperture", "the background there", row.filename)
                return
    yield Finding("ok", "display", text)


def shown(project: Project) -> Iterator[Finding | Exception]:
    """The display of the rounds that were exported, against that of project.toml."""
    now = project.display.drawn()
    for round_ in _exported(project):
        before = _manifest(round_).get("display", {})
        changed = [key for key in now if key in before and before[key] != now[key]]
        if changed:
            yield DataError(
                f"{TOML} [display]",
                found=", ".join(f"{key} = {now[key]!r}" for key in changed),
                expected=f"as in round {round_.number}: " + ", ".join(f"{key} = {before[key]!r}" for key in changed),
                cause="project.toml was edited after the round was exported, or another screen is used now",
                fix="put the old values back; for another screen begin a new project with `stimsynth init`",
                code="C08",
            )
            return


def decided(project: Project) -> Iterator[Finding | Exception]:
    """What people decided, and whether its images are still those that were meant."""
    standing = read_standing(project.folder)
    if not standing.sequence:
        return
    from protocols.rounds.decisions.decide import undecided_round
    from protocols.rounds.decisions.honour import honoured_batch, obsolete_vetoes
    from synth import StimulusBatch

    counts = f"{len(standing.vetoed)} images vetoed, {len(standing.stopped)} sites stopped"
    yield Finding("ok", "decisions", f"{standing.sequence}, the last by {standing.last}: {counts}")
    round_ = undecided_round(project)
    if round_ is None:
        return
    batch = StimulusBatch.load(round_.controllers_path)
    for sentence in honoured_batch(project, round_.number, batch)[1].sentences():
        yield Finding("note", "decisions", f"round {round_.number}: {sentence}")
    for image in obsolete_vetoes(standing, round_.number, batch):
        yield Finding("note", "decisions", f"{image} was vetoed and is another image now: the veto does not hold")


def split(project: Project) -> Iterator[Finding | Exception]:
    """How many photographs are held out, and whether groups leave enough on both sides."""
    if not (project.data / "natural.csv").is_file():
        return
    from encoders.splits import hold_out
    from encoders.splits import photographs as told_apart

    settings, natural = project.config.encoder, NaturalImages.load(project.data)
    names = told_apart(natural.pixels(), natural.groups, join=settings.join_near_duplicates).names
    try:
        held = hold_out(names, settings.holdout_fraction, seed=settings.seed)
        if len({n for n, h in zip(names, held, strict=True) if not h}) < settings.folds:
            raise ValueError(f"{len(set(names))} groups for {settings.folds} folds")
    except ValueError as error:
        yield DataError(
            f"{TOML} [encoder]",
            found=str(error),
            expected="photographs on both sides of the split, and a group for each fold",
            cause="few groups: groups.csv puts many pictures together, or the fraction is small or large",
            fix="change holdout_fraction, seed or folds in [encoder], or correct groups.csv",
            code="C14",
        )
        return
    share, groups = float(held.mean()), len({n for n, h in zip(names, held, strict=True) if h})
    unusual = share > max(LARGE_SHARE, 1.5 * settings.holdout_fraction) or share < settings.holdout_fraction / 3
    text = f"{int(held.sum())} of {len(names)} photographs held out ({share:.0%}, {groups} of {len(set(names))} groups)"
    if unusual:
        text += f"; {settings.holdout_fraction:.0%} is asked for: another seed in [encoder] splits otherwise"
    yield Finding("note" if unusual else "ok", "split", text)


def near_duplicates(project: Project) -> Iterator[Finding | Exception]:
    """Photographs that look like another one under another name."""
    if not (project.data / "natural.csv").is_file():
        return
    from protocols.models.duplicates import count_near_duplicates

    found = count_near_duplicates(project)
    yield Finding(found.status, "near duplicates", found.text)


def recordings(project: Project) -> Iterator[Finding | Exception]:
    """What was recorded, and what comes next."""
    from protocols.state import look

    rounds = project.rounds()
    later = [r.number for r in rounds if r.number > 0 and (r.controllers_path.is_file() or r.outbox.is_dir())]
    if baseline(project) is None and (later or project.newest_fit() is not None):
        yield _gone(project, "responses.h5", "the baseline recording that the encoder was fitted to")
        return
    ingested = [str(r.number) for r in rounds if r.ingested]
    status = "ok" if ingested or (project.data / "responses.h5").is_file() else "note"
    yield Finding(status, "recordings", f"ingested rounds: {', '.join(ingested) or 'none'}; {look(project).summary()}")


def windows(project: Project) -> Iterator[Finding | Exception]:
    """The response window of each recording, and the one that project.toml asks the rig for."""
    from protocols.recordings.readers.hdf5 import read_responses

    wanted = project.config.protocol.response_window_ms
    found: dict[str, tuple[float, float]] = {}
    first = baseline(project)
    if first is not None and first[0].window_ms is not None:
        found["the baseline"] = first[0].window_ms
    for round_ in project.rounds():
        if round_.number > 0 and round_.ingested:
            window = read_responses(round_.responses_path).window_ms
            if window is not None:
                found[f"round {round_.number}"] = window
    other = {name: window for name, window in found.items() if tuple(window) != tuple(wanted)}
    if other:
        name, window = next(iter(other.items()))
        yield DataError(
            f"{TOML} [protocol]",
            found=f"response_window_ms = [{wanted[0]:g}, {wanted[1]:g}]",
            expected=f"[{window[0]:g}, {window[1]:g}] ms, the window of {name}",
            cause="the recording was counted in another window than the rig is asked for",
            fix="set response_window_ms to the window of the recordings, or count all of them in one window",
            code="C13",
        )
    elif found:
        yield Finding("ok", "windows", f"{wanted[0]:g}-{wanted[1]:g} ms in {', '.join(found)}")


def sites(project: Project) -> Iterator[Finding | Exception]:
    """Before the first fit: named targets, and how many sites are reliable enough."""
    first = baseline(project)
    if first is None or project.newest_fit() is not None:
        return
    from encoders.metrics import split_half_reliability

    recorded, settings = first[0].usable(), project.config
    named = {"synthesis": settings.synthesis.targets}
    if settings.evolution.generations:
        named["evolution"] = settings.evolution.targets
    for section, wanted in named.items():
        unknown = [t for t in wanted if t not in recorded.site_ids] if wanted != "all" else []
        if not unknown:
            continue
        yield DataError(
            f"{TOML} [{section}]",
            found=f"the target {unknown[0]!r}",
            expected=f"recorded sites: {', '.join(recorded.site_ids[:6])} ... ({len(recorded.site_ids)})",
            cause="a slip of the pen, or another recording",
            fix='correct targets, or set targets = "all"',
            code="C11",
        )
    if recorded.averaged_over is not None:
        yield Finding("note", "sites", "averages without single trials: no site's reliability is known")
        return
    images = sorted(set(map(str, recorded.image_ids)))
    reliability = split_half_reliability(recorded.values, recorded.index(images), n_images=len(images))
    lower, upper = settings.encoder.reliability_fit, settings.encoder.reliability_target
    fit, control = (int(np.sum(reliability >= least)) for least in (lower, upper))
    text = f"{fit} of {len(reliability)} sites reach reliability_fit = {lower}, {control} reliability_target = {upper}"
    if control:
        yield Finding("ok", "sites", text)
        return
    yield DataError(
        "the recorded baseline",
        found=text,
        expected="at least one site to control",
        cause="image ids and responses were joined wrongly, the window misses the response, or there are few repeats",
        fix="look at the recording; where it is right, record more repeats or lower reliability_target in [encoder]",
        code="C17",
    )


def _exported(project: Project) -> list[Round]:
    return [r for r in project.rounds() if (r.outbox / "_READY").is_file()]


def _manifest(round_: Round) -> dict[str, Any]:
    from protocols.project.outbox import read_manifest

    return read_manifest(round_.outbox)


def _gone(project: Project, name: str, what: str) -> DataError:
    return DataError(
        f"data/{name}",
        found="no such file, though later files were made from it",
        expected=what,
        cause="it was deleted, moved, or not copied with the project",
        fix="restore data/ from a backup before you run anything: a new baseline would not belong to these rounds",
        code="C12",
    )
