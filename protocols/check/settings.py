"""Looks at project.toml itself, and at this computer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import version as installed_version

from protocols.devices import checked_device
from protocols.disk.foreign import read_text
from protocols.errors import DataError
from protocols.project.config.config import Config
from protocols.project.config.laboratories import MARK, open_questions
from protocols.project.config.protocol import ANCHOR_REPEATS, ProtocolConfig
from protocols.project.folder import Project
from protocols.recordings.dataset import baseline

from .findings import TOML, Finding

ENOUGH_DISK_GB = 2.0
SOME_IMAGES = 60
LATEST_MS = 1000.0  # ingest refuses a window that begins later after the end of a presentation
NEXT_RESPONSE_MS = 50.0  # no visual response to the next image begins earlier after its onset
LONG_HOURS = 8.0
FEW_ANCHORS = 20  # photographs with repeats from which the reliability of a site is told at all
LOOSE = 0.2  # a tolerance of a refit above this refuses next to nothing
SCREEN_CM = (0.5, 300.0)  # widths of an image on a screen


def configuration(project: Project) -> Iterator[Finding | Exception]:
    """Whether project.toml can be read, and what it says in short."""
    config = project.config
    protocol = config.protocol
    text = (
        f"{', '.join(config.synthesis.objectives)}; {_size(protocol)} in {protocol.blocks} blocks; "
        f"alpha {config.evaluation.alpha}"
    )
    yield Finding("ok", "configuration", text)
    asked = open_questions(read_text(project.folder / TOML, encoding="utf-8-sig"))
    if asked:
        places = ", ".join(f"[{section}] {key}" for section, key in asked)
        text = f"{len(asked)} open in {TOML}: {places}; set each key, then delete the line # {MARK} above it"
        yield Finding("note", "questions", text)


def _size(protocol: ProtocolConfig) -> str:
    """What project.toml says of the size of a round."""
    if protocol.repeats is not None:
        return f"{protocol.repeats} repeats"
    if protocol.minutes:
        return f"{protocol.minutes:g} minutes"
    return f"{protocol.presentations} presentations" if protocol.presentations else "presentations by the planner"


def schedule(project: Project) -> Iterator[Finding | Exception]:
    """Times: of the window against the presentation, of the repeats, of the whole baseline round."""
    protocol = project.config.protocol
    begin, end = protocol.response_window_ms
    cycle = protocol.on_ms + protocol.off_ms
    if end <= 0 or begin >= cycle + LATEST_MS:
        yield DataError(
            f"{TOML} [protocol]",
            found=f"response_window_ms = [{begin:g}, {end:g}] with on_ms + off_ms = {cycle:g}",
            expected="a window that holds the response to the image that is on the screen",
            cause="the window is relative to the begin of the trial, not to the onset of the image",
            fix="give response_window_ms in ms after the onset of the image: ingest would refuse this one",
            code="C15",
        )
    elif end > cycle + NEXT_RESPONSE_MS:
        text = f"response_window_ms ends {end - cycle:g} ms after the onset of the next image: its response counts too"
        yield Finding("note", "schedule", text)
    if protocol.baseline_repeats < 2 and protocol.baseline_anchors < FEW_ANCHORS and baseline(project) is None:
        yield DataError(
            f"{TOML} [protocol]",
            found=f"baseline_repeats = {protocol.baseline_repeats}, baseline_anchors = {protocol.baseline_anchors}",
            expected=f"at least 2 presentations of each photograph, better 8, or {FEW_ANCHORS} anchors",
            cause="photographs were counted, not presentations",
            fix=(
                "raise baseline_repeats, or baseline_anchors: with one trial per image no site's reliability is known, "
                "so none is fitted"
            ),
            code="C15",
        )
    if (project.data / "natural.csv").is_file() and baseline(project) is None:
        from protocols.project.photographs import read_photographs

        images = len(read_photographs(project.data / "natural.csv"))
        anchors = min(images, protocol.baseline_anchors) * max(0, ANCHOR_REPEATS - protocol.baseline_repeats)
        hours = (images * protocol.baseline_repeats + anchors) * cycle * (1 + protocol.overhead) / 3.6e6
        long = hours > LONG_HOURS
        text = f"the baseline round takes {hours:.1f} hours" + (
            f" ({images} photographs, {protocol.baseline_repeats} times each); show fewer, or lower baseline_repeats"
            if long
            else ", fixation and reward as [protocol] overhead says"
        )
        yield Finding("note" if long else "ok", "schedule", text)


def settings(project: Project) -> Iterator[Finding | Exception]:
    """Keys that are allowed and do less, or more, than they seem to."""
    config = project.config
    protocol, arms, refit = config.protocol, config.arms, config.refit
    photographs = project.data / "natural.csv"
    known = len(read_text(photographs).splitlines()) - 1 if photographs.is_file() else None
    distance, size = config.display.viewing_distance_cm, config.display.size_deg
    width = None if distance is None else distance * size * 0.01745
    notes = (
        (bool(refit.accept_worse), f"[refit] accept_worse: every refit is accepted ({refit.accept_worse})"),
        (refit.tolerance > LOOSE, f"[refit] tolerance = {refit.tolerance}: next to no refit is refused"),
        (
            bool(arms.kinds) and arms.budget < min(arms.repeats, protocol.repeats or arms.repeats),
            f"[arms] budget = {arms.budget}: no control arm is shown; set kinds = [] if that is meant",
        ),
        (
            protocol.repeats is not None and arms.repeats > protocol.repeats,
            f"[arms] repeats = {arms.repeats}: {protocol.repeats} are shown",
        ),
        (
            protocol.repeats is not None and config.synthesis.graded_repeats > protocol.repeats,
            f"[synthesis] graded_repeats = {config.synthesis.graded_repeats}: {protocol.repeats} are shown",
        ),
        (protocol.blanks_per_block == 0, "[protocol] blanks_per_block = 0: gains are fractions of the whole response"),
        (
            config.loop.rounds < max((r.number for r in project.rounds()), default=0),
            f"[loop] rounds = {config.loop.rounds}: later rounds exist already, `stimsynth run` leaves them alone",
        ),
        (
            known is not None and protocol.references > known,
            f"[protocol] references = {protocol.references}: there are {known} photographs",
        ),
        (
            known is not None and protocol.natural_images + protocol.chosen_images > known,
            f"[protocol] natural_images {protocol.natural_images}, chosen_images {protocol.chosen_images}: there are "
            f"{known} photographs",
        ),
        (
            width is not None and not SCREEN_CM[0] <= width <= SCREEN_CM[1],
            f"[display] viewing_distance_cm = {distance}: the image would be {width or 0:.2g} cm wide; it is in cm",
        ),
        (config.evolution.generations > 0, _of_evolution(config)),
    )
    yield from (Finding("note", "settings", text) for holds, text in notes if holds)


def _of_evolution(config: Config) -> str:
    """What an evolution asks of the subject."""
    evolution, protocol = config.evolution, config.protocol
    named = 1 if evolution.targets == "all" else len(evolution.targets)
    shown = evolution.generations * evolution.presentations(named) + evolution.presentations_again(named)
    hours = shown * (protocol.on_ms + protocol.off_ms) / 1000 * (1 + protocol.overhead) / 3600
    each = " for each target" if evolution.targets == "all" else ""
    return (
        f"[evolution] generations = {evolution.generations}: about {shown} presentations{each}, {hours:.1f} h, before "
        "the round"
    )


def safety(project: Project) -> Iterator[Finding | Exception]:
    """The sequence of the newest exported round; before any, the first photographs one after the other."""
    from protocols.project.outbox import read_images, read_order
    from protocols.project.photographs import NaturalImages

    config = project.config
    exported = [r for r in project.rounds() if (r.outbox / "_READY").is_file()]
    if exported:
        what, images = f"round {exported[-1].number}", read_images(exported[-1].outbox)
        order = [t.image_id for t in read_order(exported[-1].outbox)]
    elif (project.data / "natural.csv").is_file():
        natural = NaturalImages.load(project.data)
        what, images = "photographs", dict(list(zip(natural.source_ids, natural.pixels(), strict=True))[:SOME_IMAGES])
        order = list(images)
    else:
        yield Finding("note", "safety", "no image yet to look at")
        return
    from protocols.rounds.safety import acknowledged, check_sequence

    times = config.protocol
    report = check_sequence(config.display, images, order, on_ms=times.on_ms, off_ms=times.off_ms, limits=config.safety)
    text = f"{what}, {config.project.species}: {'; '.join(report.summary().splitlines())}"
    if not report.findings:
        yield Finding("ok", "safety", text)
        return
    stops = config.project.species == "human" and len(acknowledged(report, config.safety)) < len(report.findings)
    yield Finding("fail" if stops else "note", "safety", text)


def disk(project: Project) -> Iterator[Finding | Exception]:
    """Whether there is room for a round."""
    free = shutil.disk_usage(project.folder).free / 1e9
    status = "ok" if free > ENOUGH_DISK_GB else "fail"
    yield Finding(status, "disk", f"{free:.1f} GB free (at least {ENOUGH_DISK_GB} wanted)")


def device(name: str) -> Iterator[Finding | Exception]:
    """Whether torch can compute on the device of that name."""
    yield Finding("ok", "device", f"{checked_device(name)} (torch {installed_version('torch')})")
