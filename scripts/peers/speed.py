"""Time per gradient step beside the peers: the same network, images, batch and steps, transforms and variables as alike as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

import bench
import bench_quality
from synth import affine, ascend, exact_statistics, fourier, jitter, pixels, stretch
from synth.rules import Rule, adamw, smooth

from . import ascent
from .records import ANEW, LUCENT, PLENOPTIC, NotRun, Row, interleaved

RMS = 0.2


@dataclass(frozen=True)
class Load:
    """Size of the work that is timed."""

    size: int = 112
    batch: int = 8
    steps: int = 20

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return 3, self.size, self.size


@dataclass(frozen=True)
class Match:
    """Ours and a peer's on the same work; `same`: the very module, else ours on the backbone of `encoders`."""

    name: str
    peer: str
    version: str
    what: str
    ours: Callable[[nn.Module], object]
    theirs: Callable[[nn.Module], object]
    note: str = ""


def first_units(images: Tensor, responses: Tensor) -> Tensor:
    """Image i climbs unit i: (B, U) -> (B,)."""
    return responses.diagonal()


def matches(load: Load) -> tuple[list[Match], list[NotRun]]:
    """The pairs that can be run here, and the peers that cannot."""
    display = exact_statistics(load.shape, mean=0.43, rms=RMS)
    missing = [m for m in (LUCENT.missing("speed"), PLENOPTIC.missing("speed")) if m is not None]
    absent = {m.peer for m in missing}

    def ours(**settings: Any) -> Callable[[nn.Module], object]:
        objective = stretch(range(load.batch))
        return lambda network: ascend(network, objective, steps=load.steps, **settings)

    def task(network: nn.Module) -> ascent.Task:
        return ascent.Task(bench_quality.Readable(network).eval(), first_units, load.batch, load.shape)

    def lucent(transforms: Any = None) -> Callable[[nn.Module], object]:
        return lambda network: ascent.lucent(task(network), ascent.Clock([]), load.steps, transforms=transforms)

    found = []
    if "lucent" not in absent:
        from lucent.optvis import transform

        found += [
            Match("lucent", "lucent", LUCENT.version, "Fourier variables, shifts of up to 8 px", ours(parameterisation=fourier(load.shape), transforms=[jitter(max_px=4)]), lucent([transform.jitter(8)])),
            Match("lucent_default", "lucent", LUCENT.version, "Fourier variables; its standard transforms (on 136 px), our shifts, scales and rotations", ours(parameterisation=fourier(load.shape), transforms=[jitter(max_px=6), affine(0.1, 10, 0.0)]), lucent()),
        ]  # fmt: skip
    found.append(
        Match("mei", "mei's loop", ANEW, "pixels, blurred gradient, AdamW, mean and contrast fixed in every step",
              ours(parameterisation=pixels(load.shape), transforms=(), constraints=[display], learning_rate=ascent.MEI_RATE * RMS, rule=Rule(adamw(), precondition=(smooth(1.0),))),
              lambda network: ascent.mei(task(network), ascent.Clock([]), load.steps, project=display, sd=RMS),
              note="projection and blur are ours on both sides; the published package calls the network twice per step, this loop once")
    )  # fmt: skip
    if "plenoptic" not in absent:
        found.append(
            Match("plenoptic", "plenoptic", PLENOPTIC.version, "pixels, Adam at 0.01, no transforms",
                  ours(parameterisation=pixels(load.shape), transforms=(), learning_rate=0.01),
                  lambda network: ascent.plenoptic(task(network), ascent.Clock([]), load.steps))
        )  # fmt: skip
    return found, missing


def rows(load: Load, repeats: int) -> Iterator[Row | NotRun]:
    """Time of the steps, checks and records of a run included."""
    found, missing = matches(load)
    yield from missing
    loaded, own = bench.as_loaded("lite0"), bench.ours_of(bench.LITE0, bench.LAYER)
    sizes = f"Lite0 to block 4, {load.batch} images of {load.size} px, {load.steps} steps"
    for match in found:
        for network, which in ((loaded, "the same module"), (own, "ours on its own backbone")):
            theirs, ours = (lambda m=match: m.theirs(loaded)), (lambda m=match, n=network: m.ours(n))
            yield Row(
                group="speed", peer=match.peer, version=match.version, what=f"{match.what}; {which} ({sizes})",
                interval=f"range of {repeats} in turn", unit="CPU s", better="less", note=match.note, **interleaved(ours, theirs, repeats),
            )  # fmt: skip


def once(name: str, side: str, load: Load) -> Callable[[], object]:
    """One side of one match, for the measurement of memory."""
    (match,) = [m for m in matches(load)[0] if m.name == name]
    network = bench.as_loaded("lite0")
    with torch.no_grad():
        network(torch.rand(1, *load.shape, generator=torch.Generator().manual_seed(0)))
    return (lambda: match.ours(network)) if side == "ours" else (lambda: match.theirs(network))
