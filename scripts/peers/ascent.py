"""Gradient ascent by the peers, each as it comes, and by `synth.ascend`, with the images and the CPU seconds of chosen steps.

lucent and plenoptic run as packages. The package `mei` of the index (0.0.0) is empty, so mei's PUBLISHED LOOP IS WRITTEN ANEW, in the V4
setting of its authors: Gaussian noise, gradient blurred by one pixel, AdamW, statistics fixed after each step, no transforms.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from synth.rules import smooth

Score = Callable[[Tensor, Tensor], Tensor]  # images (B, C, H, W), responses (B, U) -> (B,), higher is better
Images = Callable[[Tensor], Tensor]

LUCENT_STEPS, MEI_STEPS, PLENOPTIC_STEPS = 512, 320, 100
"""The peers' own numbers of steps: the defaults of `render_vis` and of `Metamer.synthesize`, and for mei's loop, which has none, a
third of its authors' 1000 in V4, to save time."""
MEI_RATE = 40  # of AdamW, in SDs of the image per step: 10 at an SD of 0.25 (norm 25 at 100 x 100 px)


@dataclass(frozen=True)
class Task:
    """One image per score: what every ascent is given."""

    encoder: nn.Module
    score: Score
    batch: int
    shape: tuple[int, int, int]
    seed: int = 0


@dataclass
class Clock:
    """Images and CPU seconds at chosen steps; the time of keeping them is not counted."""

    points: Sequence[int]
    steps: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    images: list[Tensor] = field(default_factory=list)
    idle: float = 0.0
    begun: float = field(default_factory=time.process_time)

    def at(self, step: int, images: Tensor) -> None:
        """Keep the images after so many steps, if they are wanted."""
        if step not in self.points or step in self.steps:
            return
        now = time.process_time()
        self.steps.append(step)
        self.seconds.append(now - self.begun - self.idle)
        self.images.append(images.detach().clone())
        self.idle += time.process_time() - now


def lucent(task: Task, clock: Clock, steps: int = LUCENT_STEPS, *, transforms: Sequence[Any] | None = None) -> None:
    """`lucent.optvis.render.render_vis`: its Fourier image, Adam at 0.05, its standard transforms unless others are given."""
    from lucent.optvis import objectives, param, render

    last: dict[str, Any] = {"calls": -2}  # one call for the shape, then one before each step

    def image() -> tuple[list[Tensor], Callable[[], Tensor]]:
        variables, make = param.image(task.shape[2], task.shape[1], batch=task.batch)

        def shown() -> Tensor:
            last["calls"] += 1
            last["images"] = make()
            clock.at(last["calls"], last["images"])
            return last["images"]  # type: ignore[no-any-return]

        return variables, shown

    def loss(layer: Callable[[str], Tensor]) -> Tensor:
        return -task.score(last["images"], layer("sites")).sum()

    with seeded(task.seed), mended():
        render.render_vis(
            task.encoder, objectives.Objective(loss), image, thresholds=(steps,), preprocess=False, progress=False,
            show_image=False, fixed_image_size=task.shape[2], transforms=None if transforms is None else list(transforms),
        )  # fmt: skip


@contextmanager
def mended() -> Iterator[None]:
    """Kornia's moved functions where lucent 0.1.8 looks for them."""
    import kornia
    from lucent.optvis import transform

    kept, moved = transform.kornia, kornia.geometry.transform
    names = ("get_rotation_matrix2d", "warp_affine")
    transform.kornia = type("Moved", (), {n: staticmethod(getattr(moved, n)) for n in names})
    try:
        yield
    finally:
        transform.kornia = kept


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators seeded for a peer that draws from them, and put back."""
    state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


def plenoptic(task: Task, clock: Clock, steps: int = PLENOPTIC_STEPS) -> None:
    """`plenoptic.Metamer` with the negative score as its loss: pixels from uniform noise, Adam at 0.01, its penalty on the range.

    plenoptic has no activation maximisation; its authors' way to another aim is another `loss_function`.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    import plenoptic as po

    current: dict[str, Any] = {"step": -1, "images": None}

    def penalty(images: Tensor) -> Tensor:
        if images is current["images"]:
            current["step"] += 1
            clock.at(current["step"], images)
        return po.regularize.penalize_range(images)  # type: ignore[no-any-return]

    def loss(responses: Tensor, _: Tensor) -> Tensor:
        return -task.score(current["images"], responses).sum()

    with seeded(task.seed):
        target = torch.full((task.batch, *task.shape), 0.5)
        synthesis = po.Metamer(target, task.encoder, loss_function=loss, penalty_function=penalty)
        synthesis.setup()
        current["images"] = synthesis.metamer
        synthesis.synthesize(max_iter=steps, stop_criterion=-1.0)


def mei(task: Task, clock: Clock, steps: int = MEI_STEPS, *, project: Images, sd: float) -> None:
    """Mei's published loop, written anew: `project` fixes mean and SD (`sd`, in [0, 1]) after each step, as its post-processing does."""
    generator = torch.Generator().manual_seed(task.seed)
    with torch.no_grad():
        images = project(0.5 + sd * torch.randn(task.batch, *task.shape, generator=generator)).requires_grad_()
    optimiser, smoothed = torch.optim.AdamW([images], lr=MEI_RATE * sd), smooth(1.0)
    clock.at(0, images)
    for step in range(1, steps + 1):
        (gradient,) = torch.autograd.grad(-task.score(images, task.encoder(images)).sum(), images)
        images.grad = smoothed(gradient, 0.0)
        optimiser.step()
        with torch.no_grad():
            images.copy_(project(images))
        clock.at(step, images)
