"""What `stimsynth check` looks at before a recording day: one finding per subject, never an exception."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version as installed_version
from typing import Any

from protocols.project.config.config import Config
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project

from .devices import checked_device
from .errors import DataError

ENOUGH_DISK_GB = 2.0
SOME_IMAGES = 60


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `status` is "ok", "note" (not there yet) or "fail"."""

    status: str
    what: str
    text: str

    def to_dict(self) -> dict[str, Any]:
        """The finding for scripts."""
        return asdict(self)


def check_project(project: Project, *, device: str = "cpu") -> list[Finding]:
    """Findings on configuration, photographs, recordings, encoder, display, safety, disk, prior and earlier
    networks where named, and device.
    """
    looks: dict[str, Callable[[Project], Finding]] = {
        "configuration": _configuration,
        "photographs": _photographs,
        "recordings": _recordings,
        "encoder": _encoder,
        "display": _display,
        "safety": _safety,
        "disk": _disk,
    }
    if _asks(project, lambda config: config.synthesis.generator == "diffusion"):
        looks["prior"] = _prior
    if _asks(project, lambda config: bool(config.encoder.networks_from)):
        looks["networks"] = _networks
    findings = []
    for what, look in looks.items():
        try:
            findings.append(look(project))
        except (DataError, ValueError, OSError) as error:
            findings.append(Finding("fail", what, str(error)))
        if what == "configuration":
            if findings[-1].status == "fail":
                return findings
            project = project.for_stage()
    return [*findings, _device(device)]


def _configuration(project: Project) -> Finding:
    config = project.config
    protocol = config.protocol
    return Finding(
        "ok",
        "configuration",
        f"{', '.join(config.synthesis.objectives)}; {protocol.repeats} repeats in {protocol.blocks} blocks; "
        f"alpha {config.evaluation.alpha}",
    )


def _photographs(project: Project) -> Finding:
    from protocols.project.photographs import NaturalImages

    if not (project.data / "natural.csv").is_file():
        return Finding("note", "photographs", "none yet: `stimsynth export --baseline IMAGES` imports them")
    natural = NaturalImages.load(project.data)
    return Finding(
        "ok", "photographs", f"{len(natural.source_ids)} images of {len(set(natural.groups))} source photographs"
    )


def _recordings(project: Project) -> Finding:
    from .loop import look

    rounds = project.rounds()
    ingested = [str(r.number) for r in rounds if r.ingested]
    status = "ok" if ingested or (project.data / "responses.h5").is_file() else "note"
    return Finding(status, "recordings", f"ingested rounds: {', '.join(ingested) or 'none'}; {look(project).summary()}")


def _encoder(project: Project) -> Finding:
    newest = project.newest_fit()
    if newest is None:
        return Finding("note", "encoder", "none yet: `stimsynth fit` makes it")
    from encoders import Encoder
    from protocols.models.pair import load_pair

    encoder, validator = load_pair(project, newest)
    fitted, scores = fitted_for(project.fitted, newest), ""
    if fitted is not None and fitted.final:  # then the pair above is without the encoder that was scored
        scores = f", scores of {Encoder.load(project.fitted / fitted.encoder).fingerprint}"
    if encoder.field_of_view_deg != project.display.size_deg:
        return Finding(
            "fail",
            "encoder",
            f"fitted for {encoder.field_of_view_deg} degrees, the display shows {project.display.size_deg}: fit again",
        )
    return Finding(
        "ok",
        "encoder",
        f"{encoder.fingerprint} ({len(encoder.site_ids)} sites, {len(encoder.target_ids)} to control), "
        f"validator {validator.fingerprint}{scores}",
    )


def _display(project: Project) -> Finding:
    display = project.display
    return Finding(
        "ok",
        "display",
        f"{display.width_px} x {display.height_px} px, {display.size_deg} deg wide ({display.px_per_deg:.1f} px/deg), "
        f"{display.colour}, {display.encoding}, background {display.background}",
    )


def _safety(project: Project) -> Finding:
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
        return Finding("note", "safety", "no image yet to look at")
    from protocols.rounds.safety import acknowledged, check_sequence

    times = config.protocol
    report = check_sequence(config.display, images, order, on_ms=times.on_ms, off_ms=times.off_ms, limits=config.safety)
    text = f"{what}, {config.project.species}: {'; '.join(report.summary().splitlines())}"
    if not report.findings:
        return Finding("ok", "safety", text)
    stops = config.project.species == "human" and len(acknowledged(report, config.safety)) < len(report.findings)
    return Finding("fail" if stops else "note", "safety", text)


def _asks(project: Project, what: Callable[[Config], bool]) -> bool:
    """Whether project.toml asks for `what`."""
    try:
        return what(project.config)
    except DataError:
        return False  # reported under "configuration"


def _networks(project: Project) -> Finding:
    from protocols.models.fit import networks_from

    earlier = networks_from(project)
    assert earlier is not None
    tuned = len(earlier.backbone.adapted)
    text = f"of {earlier.fingerprint}, {earlier.backbone.uri}, {tuned} tensors tuned on {len(earlier.site_ids)} sites"
    return Finding(
        "ok" if tuned else "fail",
        "networks",
        text if tuned else f"{text}: fit it with fine_tune, or, if it was, no pass was kept",
    )


def _prior(project: Project) -> Finding:
    from protocols.synthesis.priors import open_prior

    prior = open_prior(project.config.diffusion, project.display.shape, project.folder)
    about = prior.describe()
    size = " x ".join(str(n) for n in prior.shape[1:])
    return Finding(
        "ok", "prior", f"{about['name']} at {size}; knows {about.get('knows', 'what its training images show')}"
    )


def _disk(project: Project) -> Finding:
    free = shutil.disk_usage(project.folder).free / 1e9
    return Finding(
        "ok" if free > ENOUGH_DISK_GB else "fail", "disk", f"{free:.1f} GB free (at least {ENOUGH_DISK_GB} wanted)"
    )


def _device(device: str) -> Finding:
    return Finding("ok", "device", f"{checked_device(device)} (torch {installed_version('torch')})")
