"""The loop: one function per stage.

What comes next is read from the files that exist, so that any stage may be killed and repeated.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.disk.locks import alone, hold
from protocols.disk.shares import make_folder, writing
from protocols.project.folder import Project, Round
from protocols.project.key import Key, read_key
from protocols.project.outbox import read_manifest
from protocols.project.photographs import NaturalImages
from protocols.recordings.blocks import planned_looks
from protocols.recordings.dataset import drift_of
from protocols.recordings.ingest import IngestReport, ingest, may_still_come, poll_inbox
from protocols.recordings.parts.delivery import ingest_parts
from protocols.recordings.parts.names import parts_in
from protocols.recordings.readers.hdf5 import read_kept
from protocols.shards.array import Part
from protocols.state import State as State
from protocols.state import look as look

from .errors import DataError
from .progress import Reporter

if TYPE_CHECKING:  # each stage imports what it works with, so that looking at a project waits for no network
    from protocols.evolution.advance import Step
    from protocols.shards.engines import Engine
    from protocols.verdict.control_report import ControlReport
    from synth import StimulusBatch


def run(
    project: Project,
    *,
    timeout_s: float = 0.0,
    poll_s: float = 2.0,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
    tell: Callable[[str], None] | None = None,
    around: Callable[[State], AbstractContextManager[object]] = nullcontext,
) -> State:
    """Carry out every stage that can be done now, wait `timeout_s` seconds for responses, say what is waited for.

    Safe to kill at any moment and to repeat: a stage is done when its file is there. Each stage reads project.toml
    once, when it begins. An answer that cannot be read yet, though its ``.done`` file is there, is waited for as well.
    `engine` makes the images of a round. `tell` gets what `ingest` found, as text, and each part of an answer as it
    comes; until the deadline a part that is refused may be replaced. `around` is entered with the state of each stage.
    """
    deadline, told = time.monotonic() + timeout_s, dict[str, None]()
    while True:
        with hold(project.folder, "run", wait_s=deadline - time.monotonic()):
            state = look(project)
            _tell_parts(state, told, tell)
            if state.stage == "finished":
                return state
            if state.waiting_for is None:
                try:
                    with around(state):
                        step(project, state, device=device, engine=engine, progress=progress, tell=tell)
                    continue
                except (DataError, OSError) as error:
                    if (
                        state.stage not in ("evolve", "ingest", "look")
                        or not may_still_come(error)
                        or time.monotonic() >= deadline
                    ):
                        raise
        if state.waiting_for is not None and (state.waiting_for != "responses" or time.monotonic() >= deadline):
            for fault in state.delivery.faults.values() if state.delivery else ():
                raise fault
            return state
        time.sleep(max(0.0, min(poll_s, deadline - time.monotonic())))


def _tell_parts(state: State, told: dict[str, None], tell: Callable[[str], None] | None) -> None:
    """Tell what is new among the parts of an answer; `told` keeps what was told."""
    if state.delivery is None or tell is None:
        return
    new = [line for line in state.delivery.lines() if line not in told]
    for line in [*new, state.delivery.summary()] if new else []:
        tell(f"round {state.number}: {line}")
    told |= dict.fromkeys(new)


@alone("run")
def step(
    project: Project,
    state: State,
    *,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
    tell: Callable[[str], None] | None = None,
) -> None:
    """Carry out the one stage that `state` names; `tell` gets what `ingest` found, as text."""

    def take() -> None:
        from protocols.rounds.looks.look import make_look

        round_ = project.round(state.number)
        report = (
            make_look(project, round_, progress=progress) if state.stage == "look" else ingest_round(project, round_)
        )
        if tell is not None:
            tell(f"round {state.number}: {report.summary()}")

    def evolve_on() -> None:
        found = evolve(project, state.number, device=device, progress=progress)
        if tell is not None:
            tell(f"round {state.number}: {found.summary()}")

    def show() -> None:
        from protocols.report.page import write_report

        write_report(project.for_stage(), project.round(state.number))

    actions: dict[str, Callable[[], object]] = {
        "fit": lambda: fit(project, state.number, device=device, progress=progress),
        "evolve": evolve_on,
        "generate": lambda: generate(project, state.number, device=device, engine=engine, progress=progress),
        "export": lambda: export(project, state.number, device=device, progress=progress),
        "look": take,
        "ingest": take,
        "evaluate": lambda: evaluate_round(project, project.round(state.number), engine=engine),
        "report": show,
    }
    actions[state.stage]()


def today() -> str:
    """The session id of a recording made today, ``ses_YYYYMMDD``."""
    return f"ses_{datetime.date.today():%Y%m%d}"


def open_round(project: Project, number: int) -> Round:
    """Round `number` where it exists already (a stage that was killed yesterday goes on there), else a new one of
    today.
    """
    return next((r for r in project.rounds() if r.number == number), None) or project.new_round(number, today())


@alone("fit")
def fit(project: Project, number: int, *, device: str = "cpu", progress: Reporter | None = None) -> dict[str, Any]:
    """The encoder and the validator that make round `number`: fitted, or as ``[refit]`` has it; returns
    ``fitted/for_round_NN.json``.

    Raises
    ------
    DataError
        T03: the round was fitted before, and its images are made already.
    """
    from protocols.models.refit import provide, refuse_shown
    from protocols.report.fits.page import write_fit

    refuse_shown(project, number)
    project = project.for_stage()
    record = provide(project, number, device=device, progress=progress, as_shown=True)
    write_fit(project, number)
    return record


@alone("evolve")
def evolve(project: Project, number: int, *, device: str = "cpu", progress: Reporter | None = None) -> Step:
    """Take, score and continue the evolution before round `number`: see `protocols.evolution.advance.advance`."""
    from protocols.evolution.advance import advance

    project = project.for_stage()
    return advance(
        project,
        open_round(project, number),
        ingest=lambda generation: ingest_round(project, generation),
        device=device,
        progress=progress,
    )


def _in_part(*_: object, engine: Engine | None = None, **__: object) -> bool:
    """Whether a call makes a part of a plan alone, beside others: nothing of the project is written."""
    return isinstance(engine, Part)


@alone("generate", unless=_in_part)
def generate(
    project: Project,
    number: int,
    *,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> StimulusBatch:
    """Make the controllers of round `number` on `engine`, and photographs at graded levels where they are asked for."""
    import torch

    from protocols.models.pair import load_pair, site_rows
    from protocols.project.config.synthesis import graded_steps
    from protocols.rounds.stimulus import batch_statistics
    from protocols.synthesis.accentuation import make_levels
    from protocols.synthesis.request import Request, chosen_targets, declared, recipe
    from protocols.synthesis.shards import make
    from protocols.synthesis.starts import starting_images

    project = project.for_stage()
    settings = project.config.synthesis
    encoder, validator = (e.to(device) for e in load_pair(project, number))
    targets = chosen_targets(project, encoder, number)
    starts = starting_images(project, number, Key((), tuple(site_rows(encoder))), targets=targets)
    request = Request(
        recipe(project, NaturalImages.load(project.data).pixels()),
        shape=project.display.shape,
        seeds=range(settings.seeds),
        steps=settings.steps,
        diffusion=project.config.diffusion,
        snapshots=graded_steps(settings),
        start=None if starts is None else torch.from_numpy(starts[0]).movedim(-1, -3).float() / 255,
        start_ids=None if starts is None else starts[1],
    )
    objective = declared(project, targets)
    made = make(
        settings.generator,
        project,
        encoder,
        objective=objective,
        request=request,
        device=device,
        engine=engine,
        progress=progress,
    )
    batch = made.validate(validator)
    round_ = open_round(project, number)
    levels = make_levels(
        project, round_, encoder, validator=validator, recipe=request.recipe, targets=targets, progress=progress
    )
    held = batch_statistics(batch)
    shares = [round(share, 4) for share in batch.black_or_white.tolist()]
    about: dict[str, Any] = {"mean_luminance": held["mean"], "rms_contrast": held["rms"], "clipped": shares}
    about |= {"device": device} | ({"accentuated": levels} if levels else {})
    round_.log("generate", images=len(batch), generator=settings.generator, steps=batch.settings["steps"], **about)
    with writing(round_.controllers_path):
        make_folder(round_.sealed)
        batch.save(round_.controllers_path)
    return batch


@alone("export")
def export_baseline(project: Project) -> Path:
    """Export round 0: every photograph of the project, `baseline_repeats` times (anchors more often), and blanks."""
    from protocols.rounds.export import Inspection, Showing, export_round
    from protocols.rounds.planning.baseline import baseline_counts
    from protocols.rounds.safety import guard
    from protocols.rounds.stimulus import Stimulus

    project = project.for_stage()
    natural = NaturalImages.load(project.data)
    stimuli = [
        Stimulus(pixels=image, role="natural", source_id=source)
        for image, source in zip(natural.pixels(), natural.source_ids, strict=True)
    ]
    round_ = open_round(project, 0)
    config = project.config.protocol
    counts = baseline_counts(config, natural.source_ids, natural.groups)
    return export_round(
        round_,
        project.display,
        stimuli,
        sites=[],
        showing=Showing(config=config, repeats=max(counts.values()), counts=counts, rigs=project.config.rig.software),
        manifest={"config": project.config.to_dict()},
        inspection=Inspection(safety=guard(project.config)),
    )


@alone("export")
def export(project: Project, number: int, *, device: str = "cpu", progress: Reporter | None = None) -> Path:
    """Export a round's outbox with the sealed key: controllers, their graded images and arms, references, natural
    images, blanks.
    """
    from protocols.evolution.report import refuse_unfinished
    from protocols.models.pair import load_pair, site_rows
    from protocols.rounds.assemble import assemble
    from protocols.rounds.checks import exactness
    from protocols.rounds.decisions.evolved import honoured_round
    from protocols.rounds.decisions.honour import tell_honoured
    from protocols.rounds.export import Inspection, Showing, export_round
    from protocols.rounds.planning.round_plan import divide_round, division_entry
    from protocols.rounds.predictions import predictor
    from protocols.rounds.safety import guard

    project = project.for_stage()
    if number == 0:
        return export_baseline(project)
    config = project.config
    round_ = project.round(number)
    refuse_unfinished(project, number)
    encoder, validator = (e.to(device) for e in load_pair(project, number))
    batch, honoured = honoured_round(project, number, sites := site_rows(encoder))
    targets = list(dict.fromkeys(batch.targets))
    plan = divide_round(project, number, encoder=encoder, targets=targets, batch=batch, device=device)
    stimuli, arms = assemble(project, number, batch, encoder=encoder, plan=plan, sites=sites, device=device)
    names = [s.source_id for s in stimuli if s.role in ("controller", "graded")]
    round_.log("arms", **arms.counts(), reasons=[list(s) for s in arms.skipped])
    return export_round(
        round_,
        project.display,
        stimuli,
        sites=sites,
        showing=Showing(
            config=config.protocol, repeats=plan.division.repeats, division=plan.division, rigs=config.rig.software
        ),
        manifest={
            "config": config.to_dict(),
            "encoder": {
                "fingerprint": encoder.fingerprint,
                "field_of_view_deg": encoder.field_of_view_deg,
                "unit": encoder.response_unit,
            },
            "validator": {"fingerprint": validator.fingerprint},
            "arms": arms.counts(),
            "division": division_entry(plan, config.protocol, stimuli),
            **tell_honoured(round_, honoured),
        },
        inspection=Inspection(
            predict=predictor(encoder, validator, device),
            check=exactness(project.display, batch, names),
            safety=guard(config, progress),
        ),
    )


@alone("ingest")
def ingest_round(
    project: Project,
    round_: Round,
    file: Path | None = None,
    *,
    parts: bool = False,
    replace: str = "",
    accept: Mapping[str, str] | None = None,
    **limits: Any,
) -> IngestReport:
    """Check the answer in the round's inbox, or `file`, and keep it as the round's trial table.

    A whole answer is taken before one in parts; `parts`: the parts that are there are the answer, no more will come.

    `limits` stand for those of ``[recording]`` in project.toml: ``max_dropped``, ``max_unseen`` (of a generation:
    ``[evolution] max_unseen``), ``drop_extra``. See `protocols.recordings.ingest.ingest` for the rest and the errors.
    """
    config = project.for_stage().config
    settings = config.recording
    given = {k: v for k, v in limits.items() if v is not None}
    usual = {
        "max_dropped": settings.max_dropped,
        "max_unseen": getattr(config, round_.limits).max_unseen,
        "drop_extra": settings.extra == "drop",
    }
    sites = read_key(round_.key_path).site_ids or None
    options: dict[str, Any] = {"encoder_sites": sites, "replace": replace, "accept": accept, **usual, **given}
    if parts or (file is None and poll_inbox(round_) is None and parts_in(round_)):
        return ingest_parts(round_, said=parts, **options)
    return ingest(round_, file, **options)


@alone("evaluate")
def evaluate_round(project: Project, round_: Round, *, engine: Engine | None = None) -> ControlReport:
    """Test whether control succeeded, on `engine`; writes ``evaluation.json`` and ``control.csv``, the same on any."""
    from protocols.project.decisions.honoured import read_honoured
    from protocols.rounds.looks.record import made_decisions
    from protocols.verdict.looks.interim import evaluate_stages

    project = project.for_stage()
    settings = project.config.evaluation
    drift = drift_of(project, round_)
    if drift is not None:
        drift.to_json(round_.drift_path)
    exported = read_manifest(round_.outbox)["config"]["synthesis"]  # what was optimised, whatever project.toml says now
    report = evaluate_stages(
        read_kept(round_.responses_path),
        read_key(round_.key_path),
        planned_looks(round_),
        alpha=settings.alpha,
        permutations=settings.permutations,
        seed=settings.seed,
        temperature=float(exported["temperature"]),
        excluded=drift.excluded if drift is not None and project.config.drift.exclude else None,
        decisions=made_decisions(round_),
        engine=engine,
    ).noted(read_honoured(round_).sentences())
    report.to_csv(round_.folder / "control.csv")
    round_.log("evaluate", **report.counts(), align=project.config.drift.align, exclude=project.config.drift.exclude)
    report.to_json(round_.evaluation_path)  # last: its presence says that the round is evaluated
    return report
