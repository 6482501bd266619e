"""What an export refuses: stimuli of another size or without a parent, an encoder of another display, controllers that
break a constraint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from protocols.arrays import Pixels
from protocols.errors import DataError
from protocols.project.display import Display
from protocols.project.folder import Round
from protocols.project.key import ROLES, SiteRow

from .stimulus import Stimulus, batch_statistics

if TYPE_CHECKING:
    from synth import StimulusBatch

Check = Callable[[Pixels], list[str]]


def refuse_again(round_: Round) -> None:
    """Raise `DataError` X01 where the round was exported before."""
    if round_.outbox.exists():
        raise DataError(
            f"{round_.place}/outbox",
            found="an outbox",
            expected="none yet",
            cause="the round was exported before, and the rig may have shown it",
            fix="export the next round; delete the outbox only if nobody has shown it",
            code="X01",
        )


def check_stimuli(stimuli: Sequence[Stimulus], display: Display, sites: Sequence[SiteRow]) -> None:
    """Raise `DataError` X03 for an image of another size than the display's, and ValueError for stimuli or sites that
    contradict each other.
    """
    channels, height, width = display.shape
    known = {s.site_id for s in sites}
    if not stimuli:
        raise ValueError("no image to export; give at least one")
    if not all(np.isfinite([s.natural_mean, s.natural_sd]).all() for s in sites):
        raise ValueError("a site has no finite natural_mean and natural_sd; leave it out of the frozen site set")
    for stimulus in stimuli:
        if stimulus.role not in ROLES or stimulus.role == "blank":
            shown = ", ".join(r for r in ROLES if r != "blank")
            raise ValueError(f"{stimulus.source_id}: role {stimulus.role!r}; expected one of {shown}")
        if stimulus.role in ("arm", "graded") and not stimulus.parent:
            raise ValueError(f"{stimulus.source_id}: role {stimulus.role} without a parent; expected a controller's id")
        if stimulus.target and stimulus.target not in known:
            raise ValueError(f"{stimulus.source_id}: target {stimulus.target!r} is not among the {len(known)} sites")
        check_size(stimulus.source_id, stimulus.pixels, (height, width, channels))


def check_size(name: str, pixels: Pixels, shape: tuple[int, int, int]) -> None:
    """Raise `DataError` X03 for an image that is not uint8 of `shape`, the display's (height, width, channels)."""
    if pixels.shape != shape or pixels.dtype != np.uint8:
        raise DataError(
            name,
            found=f"an image of shape {pixels.shape}, {pixels.dtype}",
            expected=f"uint8 of shape {shape} (height, width, channels), the display's size",
            cause="the display was changed after the images were made",
            fix="generate the images again for this display",
            code="X03",
        )


def check_encoder(display: Display, manifest: Mapping[str, Any]) -> None:
    """Raise `DataError` X02 where the entry ``encoder`` of the manifest was fitted for another display."""
    encoder = manifest.get("encoder")
    if not isinstance(encoder, dict) or not {"fingerprint", "field_of_view_deg"} <= set(encoder):
        raise ValueError("with predict, manifest['encoder'] must hold fingerprint and field_of_view_deg")
    shown = {"field_of_view_deg": display.size_deg, "background": display.background, "colour": display.colour}
    for name, value in shown.items():
        declared = encoder.get(name, value)
        same = declared == value if isinstance(value, str) else abs(float(declared) - value) <= 1e-6 * abs(value)
        if not same:
            raise DataError(
                "project.toml [display]",
                found=f"an encoder with {name} = {declared}",
                expected=f"{name} = {value}, as the display has it",
                cause="the encoder was fitted for another display, or [display] was edited since",
                fix="fit the encoder again for this display, or restore [display]",
                code="X02",
            )


def check_constraint(
    stimuli: Sequence[Stimulus], named: Mapping[str, Stimulus], pixels: Pixels, *, check: Check | None
) -> None:
    """Raise `DataError` X04 where `check` finds a problem in the controllers and graded images.

    `pixels`: all images as read back from disk, uint8 (S, H, W, C), in the order of `named`.
    """
    place = {id(s): i for i, s in enumerate(named.values())}
    chosen = [place[id(s)] for s in stimuli if s.role in ("controller", "graded")]
    problems = check(pixels[chosen]) if check is not None and chosen else []
    if problems:
        raise DataError(
            "controllers",
            found="; ".join(problems[:5]) + (f" (and {len(problems) - 5} more)" if len(problems) > 5 else ""),
            expected="range, mean, contrast and background of the display in every controller, after 8-bit rounding",
            cause="the controllers were made for another display, or the file was altered",
            fix="generate the controllers again for this display",
            code="X04",
        )


def exactness(display: Display, batch: StimulusBatch, names: Sequence[str]) -> Check:
    """What breaks the batch's mean and contrast on this display, by image: from pixels in the order of `names`."""
    import torch

    constraint = display.constraints(**batch_statistics(batch))[-1]

    def check(pixels: Pixels) -> list[str]:
        found = constraint.violations(torch.from_numpy(pixels))
        return [f"{name}: {problem}" for name, problem in zip(names, found, strict=True) if problem]

    return check
