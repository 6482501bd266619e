"""Control arms: images shown beside a controller that rule out simpler reasons for its success.

Each maker is a pure function image -> image whose result is exact on the display (`Display.constraints`). An image that
cannot be made so is refused with the reachable value (`Unreachable`), and its arm is skipped with that reason. The
controllers of other sites need no image of their own: the evaluation compares those that are shown anyway.

To add an arm: see `protocols.project.arms`; its maker is a row of `MAKERS`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.progress import counted
from protocols.project.display import Display
from protocols.project.generations.files import Evolved
from protocols.project.objectives import OBJECTIVES
from synth import ConstraintError

from .contrast import measure
from .stimulus import Stimulus

__all__ = [
    "MAKERS",
    "Arms",
    "Material",
    "Unreachable",
    "at_local_contrast",
    "choose_arms",
    "phase_scrambled",
    "with_arms",
]


TRIES = 25
FADED = 0.25  # weight of the aperture below which 8-bit pixels hold too little of the image behind it


class Unreachable(ValueError):
    """Why an arm cannot be made."""


# --- makers
# ------------------------------------------------------------------------------------------------------------


def phase_scrambled(display: Display, image: Pixels, generator: np.random.Generator) -> Pixels:
    """`image` (H, W, C) with random phases: its amplitude spectrum, mean luminance and RMS contrast, but none of its
    shapes.

    The phases of white noise are added to those of all channels alike (decoded to luminance, less the background), so
    that colours keep their relation (Oppenheim & Lim 1981; Dakin et al. 2002). Clipping and the aperture change the
    spectrum a little.
    """
    decoded = _decoded(display, image)
    away = decoded - display.background_luminance  # (H, W, C)
    noise = np.fft.rfft2(generator.normal(size=away.shape[:2]))
    turned = np.fft.rfft2(away, axes=(0, 1)) * np.exp(1j * np.angle(noise))[..., None]
    scrambled = display.background_luminance + np.fft.irfft2(turned, s=away.shape[:2], axes=(0, 1))
    mean, rms = _statistics(display, image)
    return _shown(display, torch.from_numpy(scrambled), mean, rms=rms)


def at_local_contrast(display: Display, image: Pixels, mask: Tensor, *, contrast: float) -> Pixels:
    """`image` (H, W, C) with its contrast scaled, at its own mean luminance, until the local RMS under `mask` (H, W) is
    `contrast`.

    The RMS contrast of the whole image is searched by bisection, since clipping bends the relation; the result is
    within half a grey level of `contrast` in 8 bits.

    Raises
    ------
    Unreachable
        The image is flat under the mask, or clipping keeps it from reaching `contrast`.
    """
    here, tolerance = _local(display, image, mask), display.constraints()[-1].tolerance
    mean, rms = _statistics(display, image)
    if not here > tolerance or not contrast > 0:
        raise Unreachable(f"local contrast {here:.4f} cannot be scaled to {contrast:.4f}")
    luminance, low, high, most = torch.from_numpy(_decoded(display, image)), 0.0, np.inf, here
    rms *= contrast / here
    for _ in range(TRIES):
        try:
            image = _shown(display, luminance, mean, rms=rms)
        except Unreachable:
            high = rms
        else:
            reached = _local(display, image, mask)
            if abs(reached - contrast) <= tolerance:
                return image
            most = max(most, reached)
            low, high = (max(low, rms), high) if reached < contrast else (low, min(high, rms))
        if high - low < tolerance / 4:
            break
        rms = (low + high) / 2 if np.isfinite(high) else rms * 1.25
    raise Unreachable(f"local contrast {contrast:.4f} cannot be reached; the most found is {most:.4f}")


def _decoded(display: Display, image: Pixels) -> Floats:
    decoded: Floats = display.to_luminance(torch.from_numpy(image).double() / 255).numpy()
    return decoded


def _shown(display: Display, luminance: Tensor, mean: float, *, rms: float) -> Pixels:
    """8-bit pixels of a shown luminance image (H, W, C), exact in mean and RMS contrast; the aperture fades it only
    once.
    """
    aperture = display.aperture_mask()
    if aperture is not None:
        away = (luminance - display.background_luminance) / aperture.double().clamp_min(FADED)[..., None]
        luminance = display.background_luminance + away
    try:
        constraint = display.constraints(mean=mean, rms=rms)[-1]
        projected = constraint(display.to_pixel(luminance).permute(2, 0, 1)[None])
        pixels: Pixels = constraint.quantise(projected)[0].cpu().numpy()
    except ConstraintError as error:
        raise Unreachable(str(error)) from error
    return pixels


def _statistics(display: Display, image: Pixels) -> tuple[float, float]:
    measured = display.constraints()[-1].statistics(torch.from_numpy(image).permute(2, 0, 1)[None].double() / 255)
    return float(measured["mean"]), float(measured["rms"])


def _local(display: Display, image: Pixels, mask: Tensor) -> float:
    return float(measure(display, image[None], mask[None]).local[0, 0])


# --- the arms of a round
# -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """What the arms of a round are made from.

    Parameters
    ----------
    display : Display
    site_ids : tuple of U str
    masks : Tensor of shape (U, H, W)
        Receptive fields (`contrast.field_masks`), NaN where one is not known.
    pixels : uint8 array of shape (N + F, H, W, C); source_ids : tuple of N + F str
        All photographs of the project, and after them those of ``[arms] found``.
    local : array of shape (N, U)
        Their local contrasts.
    predicted : array of shape (N + F, U), or None
        The encoder's predictions for all of them; needed for the arm ``predicted_natural`` alone.
    mean, sd : arrays of shape (U,); temperature : float
        Scale of the scores that need all sites.
    best : dict
        Best photograph of each (objective, site) in the baseline recording.
    evolved : dict of site to Evolved
        The images that were evolved on the rig.
    """

    display: Display
    site_ids: tuple[str, ...]
    masks: Tensor
    pixels: Pixels
    source_ids: tuple[str, ...]
    local: Floats
    predicted: Floats | None
    mean: Floats
    sd: Floats
    temperature: float
    best: Mapping[tuple[str, str], int]
    evolved: Mapping[str, Evolved] = field(default_factory=dict)

    def field_of(self, controller: Stimulus) -> tuple[int, Tensor]:
        """Column and receptive field of the controller's site."""
        column = self.site_ids.index(controller.target)
        if not bool(torch.isfinite(self.masks[column]).all()):
            raise Unreachable("the site's receptive field is not known")
        return column, self.masks[column]


def _phase_scrambled(material: Material, controller: Stimulus) -> Stimulus:
    digest = hashlib.sha256(f"phase_scrambled\n{controller.source_id}".encode()).digest()
    generator = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    return replace(controller, pixels=phase_scrambled(material.display, controller.pixels, generator))


def _contrast_matched(material: Material, controller: Stimulus) -> Stimulus:
    """The controller at the photographs' median local contrast.

    Of an objective that drives a site high, lowered to it: more contrast may drive by itself. Of one that drives a site
    low, lowered or raised: little contrast leaves a site silent, and much may suppress it.
    """
    column, mask = material.field_of(controller)
    own, natural = _local(material.display, controller.pixels, mask), float(np.median(material.local[:, column]))
    if own <= natural and not OBJECTIVES[controller.objective].below:
        raise Unreachable(
            f"the controller's local contrast {own:.3f} is not above the photographs' median {natural:.3f}"
        )
    return replace(controller, pixels=at_local_contrast(material.display, controller.pixels, mask, contrast=natural))


def _natural_raised(material: Material, controller: Stimulus) -> Stimulus:
    """The site's best photograph (of an objective that drives it low: the least activating one) at the controller's
    local contrast, which is above the photograph's but where the site is driven low.
    """
    column, mask = material.field_of(controller)
    index = material.best[controller.objective, controller.target]
    own, natural = _local(material.display, controller.pixels, mask), float(material.local[index, column])
    if own <= natural and not OBJECTIVES[controller.objective].below:
        raise Unreachable(f"the controller's local contrast {own:.3f} is not above its best photograph's {natural:.3f}")
    made = at_local_contrast(material.display, material.pixels[index], mask, contrast=own)
    return replace(controller, pixels=made, started_from=material.source_ids[index])


def _predicted_natural(material: Material, controller: Stimulus) -> Stimulus:
    """The photograph with the highest predicted score, unchanged: what a search among photographs would show."""
    if material.predicted is None:
        raise Unreachable("nothing is predicted for the photographs")
    score = OBJECTIVES[controller.objective].site_scores
    scores = score(material.predicted, material.mean, material.sd, temperature=material.temperature)
    index = int(scores[:, material.site_ids.index(controller.target)].argmax())
    source = material.source_ids[index]
    return replace(
        controller,
        pixels=material.pixels[index],
        source_id=source,
        objective="",
        target="",
        seed=None,
        started_from=source,
    )


def _evolved(material: Material, controller: Stimulus) -> Stimulus:
    """The image that was evolved on the rig for the response of the controller's site."""
    found = material.evolved.get(controller.target)
    if found is None:
        raise Unreachable("no image was evolved for the site, or it was vetoed")
    if OBJECTIVES[controller.objective].all_sites:
        raise Unreachable("images are evolved for the response of their site alone")
    if OBJECTIVES[controller.objective].below:
        raise Unreachable("images are evolved to drive their site high")
    if np.array_equal(found.pixels, controller.pixels):
        raise Unreachable("the evolved image is the controller itself")
    return replace(
        controller, pixels=found.pixels, source_id=found.source_id, seed=None, started_from=found.started_from
    )


MAKERS: dict[str, Callable[[Material, Stimulus], Stimulus]] = {
    "contrast_matched": _contrast_matched,
    "natural_raised": _natural_raised,
    "predicted_natural": _predicted_natural,
    "phase_scrambled": _phase_scrambled,
    "evolved": _evolved,
}
"""How the image of each arm of `protocols.project.arms` is made from its controller."""


@dataclass(frozen=True)
class Arms:
    """The arms of a round: those to show, and why others are not.

    `images`: new images, one per controller and kind; a photograph that serves several controllers stands once.
    `skipped`: (kind, objective, site, reason) of those that cannot be made. `cut`: how many of each kind the budget
    left out.
    """

    images: tuple[Stimulus, ...]
    skipped: tuple[tuple[str, str, str, str], ...]
    cut: dict[str, int]

    def counts(self) -> dict[str, dict[str, int]]:
        """Shown, skipped and cut arms of each kind, for the round's log; a shared photograph counts for each
        controller.
        """
        shown = Counter(s.arm for s in self.images for _ in s.parent.split())
        return {"shown": dict(shown), "skipped": dict(Counter(s[0] for s in self.skipped)), "cut": dict(self.cut)}


def choose_arms(
    material: Material,
    controllers: Sequence[Stimulus],
    kinds: Sequence[str],
    *,
    budget: int,
    repeats: int,
    shown: Collection[str] = (),
) -> Arms:
    """The arms of the confirmatory `controllers`: kind after kind, each for all sites, while `budget` presentations
    last.

    A photograph that is the best by prediction for several controllers is one image and is paid for once; the
    photographs whose source ids are `shown` anyway cost nothing.
    """
    shown, spent = set(shown), 0
    images: dict[str, Stimulus] = {}
    skipped, cut = [], Counter[str]()
    for kind in kinds:
        for controller in counted([c for c in controllers if c.confirmatory], f"control arms, {kind}"):
            try:
                arm = _as_arm(MAKERS[kind](material, controller), controller, kind)
            except Unreachable as why:
                skipped.append((kind, controller.objective, controller.target, str(why)))
                continue
            known = images.get(arm.source_id)
            if known is not None:
                images[arm.source_id] = replace(known, parent=f"{known.parent} {arm.parent}")
            elif (cost := 0 if arm.source_id in shown else repeats) <= budget - spent:
                images[arm.source_id] = arm
                spent += cost
            else:
                cut[kind] += 1
    return Arms(tuple(images.values()), tuple(skipped), dict(cut))


def _as_arm(made: Stimulus, controller: Stimulus, kind: str) -> Stimulus:
    """`made` with its role, its kind and the controller that it belongs to."""
    source = made.source_id
    if source == controller.source_id:
        source = f"arm_{kind}_{controller.source_id}"
    return replace(
        made,
        role="arm",
        arm=kind,
        source_id=source,
        parent=controller.source_id,
        confirmatory=False,
        generator=kind,
        score=float("nan"),
        validator_score=float("nan"),
        contrast={},
    )


def with_arms(stimuli: Sequence[Stimulus], arms: Arms) -> list[Stimulus]:
    """`stimuli` and the images of the arms; a photograph that is shown anyway is not shown twice, only marked as an
    arm.
    """
    marks = {a.source_id: a for a in arms.images}
    marked = []
    for stimulus in stimuli:
        mark = marks.pop(stimulus.source_id, None)
        marked.append(stimulus if mark is None else replace(stimulus, arm=mark.arm, parent=mark.parent))
    return [*marked, *marks.values()]
