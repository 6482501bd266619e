"""Looks at networks: the fitted encoder, those that a fit would open, the prior, and what the display can show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocols.errors import UNUSABLE, DataError
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.fitted import fitted_for
from protocols.project.folder import Project
from protocols.project.objectives import OBJECTIVES
from protocols.rounds.planning.objectives import planned_objectives

from .findings import TOML, Finding

if TYPE_CHECKING:
    from encoders.backbones import Backbone
    from encoders.backbones.multiple import Backbones

PACKAGED = ("natural64", "spectral")
"""Priors that need no file."""


def encoder(project: Project) -> Iterator[Finding | Exception]:
    """The newest encoder and its validator, and the targets of project.toml."""
    newest = project.newest_fit()
    if newest is None:
        yield Finding("note", "encoder", "none yet: `stimsynth fit` makes it")
        return
    from protocols.models.pair import load_encoder, load_pair
    from protocols.synthesis.request import chosen_targets

    made, validator = load_pair(project, newest)
    fitted, scores = fitted_for(project.fitted, newest), ""
    if fitted is not None and fitted.final:  # then the pair above is without the encoder that was scored
        scores = f", scores of {load_encoder(project, fitted.encoder).fingerprint}"
    if made.field_of_view_deg != project.display.size_deg:
        text = f"fitted for {made.field_of_view_deg} degrees, the display shows {project.display.size_deg}: fit again"
        yield Finding("fail", "encoder", text)
        return
    text = f"{made.fingerprint} ({len(made.site_ids)} sites, {len(made.target_ids)} to control), "
    yield Finding("ok", "encoder", f"{text}validator {validator.fingerprint}{scores}")
    targets = chosen_targets(project, made, newest)
    comparing = [o for o in project.config.synthesis.objectives if OBJECTIVES[o].all_sites]
    if comparing and len(made.site_ids) < 2:
        try:
            planned_objectives(comparing, None, sites=len(made.site_ids))
        except DataError as error:
            yield error
        return
    more = " ..." if len(targets) > 8 else ""
    yield Finding("ok", "targets", f"{len(targets)} sites: {', '.join(targets[:8])}{more}")


def networks(project: Project) -> Iterator[Finding | Exception]:
    """Whether the networks and layers of [encoder] can be opened, and take images of the display's size."""
    if _begun(project) is False:
        return
    from protocols.models.fit import fit_options

    settings = project.config.encoder
    try:
        opened = _open(project, fit_options(settings, project.folder))
    except UNUSABLE as error:
        if isinstance(error, DataError):
            raise
        yield DataError(
            f"{TOML} [encoder]",
            found=str(error) or type(error).__name__,
            expected="networks, layers and weights that can be opened here and fit each other",
            cause="a slip of the pen in backbone, layers or their validator_ keys, or weights that are not here",
            fix=(
                "correct the key; without internet download the network's file of weights elsewhere, copy it into the "
                'project folder and name it with weights = "FILE" (validator_weights for the validator) in [encoder]'
            ),
            code="C09",
        )
        return
    yield Finding("ok", "backbone", opened)


def _begun(project: Project) -> bool:
    """Whether there is anything to open networks for: photographs, or keys that are not the default ones."""
    networks = ("backbone", "layers", "weights", "networks_from", "readout")
    fields = (*networks, "validator_backbone", "validator_layers", "validator_weights")
    settings = project.config.encoder
    changed = any(getattr(settings, f) != type(settings).model_fields[f].default for f in fields)
    return changed or (project.data / "natural.csv").is_file()


def _open(project: Project, options: Any) -> str:
    """Open encoder's and validator's networks, ask each for one blank, and say what they are."""
    import torch

    from encoders.backbones.multiple import weights_elsewhere
    from encoders.fitting.options import resolve

    settings = resolve(options, averages=False, networks_from=None)
    if "topographic" in settings.readout.kind.split("+") and (reason := _without_places(project)):
        raise ValueError(f'readout = "topographic" {reason}; expected site/x_um and site/y_um of every site')
    own = settings.weights
    parts = (
        (settings.backbone, settings.layers, own),
        (
            settings.validator_backbone,
            settings.validator_layers,
            settings.validator_weights
            or (own if settings.validator_backbone == settings.backbone else weights_elsewhere(own)),
        ),
    )
    said = []
    for uri, entries, weights in parts:
        network = _network(uri, entries, weights, seed=settings.seed)
        layers = network.layers
        with torch.no_grad():
            network(torch.full((1, *project.display.shape), 0.5))
        said.append(f"{uri} ({', '.join(layers)})" + ("" if weights == "pretrained" else f" from {Path(weights).name}"))
        said[-1] += f" ({'. '.join(network.notes)})" if network.notes else ""
    return f"{said[0]}; validator {said[1]}"


def _network(uri: str, entries: Sequence[str], weights: str, *, seed: int) -> Backbone | Backbones:
    """The network of the layers of all entries: "a+b" are two."""
    from encoders.backbones.multiple import open_backbone

    layers = list(dict.fromkeys(layer for entry in entries for layer in entry.split("+")))
    return open_backbone(uri, layers, weights=weights, seed=seed)


def _without_places(project: Project) -> str:
    """Why sites have no coordinates; "" where they have, or nothing is recorded yet."""
    from protocols.recordings.dataset import baseline

    first = baseline(project)
    if first is None:
        return ""
    places = first[0].attributes.get("sites", {})
    lacking = [s for s in first[0].site_ids if not {"x_um", "y_um"} <= set(places.get(s, {}))]
    return f"and no coordinates of {len(lacking)} sites ({lacking[0]} ...)" if lacking else ""


def earlier(project: Project) -> Iterator[Finding | Exception]:
    """The encoder of an earlier recording that the fit begins with, and whether the fit can use it."""
    if not project.config.encoder.networks_from:
        return
    from encoders.fitting.earlier_networks import NoEarlierNetworks
    from protocols.models.fit import networks_from, unusable_networks

    before = networks_from(project)
    assert before is not None
    try:
        _begin_with(project, before)
    except NoEarlierNetworks as error:
        yield unusable_networks(project, error)
        return
    except UNUSABLE:
        return  # the networks of this project cannot be opened: told of the backbone
    tuned = len(before.backbone.adapted)
    text = f"of {before.fingerprint}, {before.backbone.uri}, {tuned} tensors tuned on {len(before.site_ids)} sites"
    yield Finding("ok", "networks", text)
    if differs := _differences(project, before):
        text = (
            f"{before.fingerprint} was fitted to {' and '.join(differs)}: what it knows of its sites may not carry over"
        )
        yield Finding("note", "networks", text)


def _begin_with(project: Project, before: Any) -> None:
    """What a fit does first with the encoder of an earlier recording; raises as the fit does."""
    from encoders.fitting.earlier_networks import known_readouts, start_from
    from encoders.fitting.options import resolve
    from encoders.solvers.catalogue import NEEDS_EARLIER
    from protocols.models.fit import fit_options

    settings = resolve(fit_options(project.config.encoder, project.folder), averages=False, networks_from=before)
    network = _network(settings.backbone, settings.layers, settings.weights, seed=settings.seed)
    for_sites = settings.readout.kind in NEEDS_EARLIER  # which read its sites, on networks as they are
    start_from(network, before, for_sites=for_sites)
    if for_sites:
        _, height, width = project.display.shape
        known_readouts(before, settings.readout, settings.layers, size=(height, width))


def _differences(project: Project, before: Any) -> list[str]:
    """In what the recording of an earlier encoder differs from this one, beside the size of the images in pixels."""
    from protocols.recordings.dataset import baseline

    display, first = project.display, baseline(project)
    pairs = [
        (
            f"{before.field_of_view_deg:g} degrees",
            f"{display.size_deg:g}",
            before.field_of_view_deg != display.size_deg,
        ),
        (f"{before.info.colour} images", display.colour, before.info.colour != display.colour),
    ]
    if first is not None:
        pairs.append((f"responses in {before.response_unit}", first[0].unit, before.response_unit != first[0].unit))
    return [f"{theirs} (here {own})" for theirs, own, differ in pairs if differ]


def statistics(project: Project) -> Iterator[Finding | Exception]:
    """Whether images of the wanted mean and contrast can be shown: one photograph is brought there."""
    if not (project.data / "natural.csv").is_file():
        return
    import torch

    from protocols.project.photographs import NaturalImages
    from protocols.synthesis.request import natural_luminance
    from synth import ConstraintError

    settings, pixels = project.config.synthesis, NaturalImages.load(project.data).pixels()
    if (pixels.shape[-1], *pixels.shape[1:3]) != project.display.shape:
        return  # told of the display
    typical = natural_luminance(project.display, pixels)
    mean = typical["mean"] if settings.mean_luminance is None else settings.mean_luminance
    rms = typical["rms"] if settings.rms_contrast is None else settings.rms_contrast
    try:
        (constraint,) = project.display.constraints(mean=mean, rms=rms)
        image = torch.from_numpy(pixels[:4]).movedim(-1, -3).float() / 255
        problems = constraint.violations(constraint.quantise(constraint(image)))
    except ConstraintError as error:
        problems = [str(error)]
    if broken := [p for p in problems if p]:
        yield DataError(
            f"{TOML} [synthesis]",
            found=f"mean_luminance {mean:.3f} with rms_contrast {rms:.3f}: {broken[0]}",
            expected="a mean and contrast that 8-bit images of this display can have",
            cause="a contrast too large for the mean, or photographs of very low contrast",
            fix="lower rms_contrast, or move mean_luminance towards 0.5",
            code="C16",
        )
        return
    yield Finding("ok", "contrast", f"mean luminance {mean:.3f}, RMS contrast {rms:.3f} can be shown")


def prior(project: Project) -> Iterator[Finding | Exception]:
    """The prior of guided diffusion, and its solver; where the generator is the ascent, only a named file is opened."""
    settings, needed = project.config.diffusion, project.config.synthesis.generator == "diffusion"
    if not needed and settings.prior in PACKAGED:
        return
    try:
        yield Finding("ok", "prior", _opened(project, settings))
    except UNUSABLE as error:
        if needed:
            raise
        yield Finding("note", "prior", f"not used by generator = gradient: {error}")


def _opened(project: Project, settings: DiffusionConfig) -> str:
    from protocols.synthesis.priors import open_prior, solver

    found = open_prior(settings, project.display.shape, project.folder)
    solver(settings.solver, found)
    about = found.describe()
    size = " x ".join(str(n) for n in found.shape[1:])
    return f"{about['name']} at {size}; knows {about.get('knows', 'what its training images show')}"
