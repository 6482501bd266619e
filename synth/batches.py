"""What all generators of images share: a random stream per image, micro-batches that fit the memory, records."""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.constraints.exact import ConstraintError
from synth.objectives import Objective

from .answers import Answers, default_site_ids, evaluating, familiarity
from .batch import StimulusBatch
from .contract import MICRO_BATCH, Attributes, EncoderLike, Images, attributes_of

Part = TypeVar("Part")


def project(images: Tensor, constraints: Sequence[Images]) -> Tensor:
    """Images as they may be shown, (B, C, H, W) in [0, 1]."""
    for constraint in constraints:
        images = constraint(images)
    return images if constraints else images.clamp(0, 1)


def quantise(images: Tensor, constraints: Sequence[Images]) -> Tensor:
    """8-bit pixels (B, H, W, C) by the last constraint that can make them, else by rounding."""
    for constraint in reversed(constraints):
        if hasattr(constraint, "quantise"):
            return constraint.quantise(images)  # type: ignore[no-any-return]
    return (images.detach() * 255).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def in_micro_batches(
    spans: Sequence[tuple[int, int]], size: int | None, make: Callable[[int, int], Part]
) -> tuple[list[Part], list[tuple[int, int]]]:
    """Call `make(begin, end)` for all images, at most `size` at a time (None = 32).

    Where memory runs out, the rest is run in halves. `torch.OutOfMemoryError` is raised where the memory does not
    suffice for one image, or for one set of images that are made together.

    Returns
    -------
    What `make` returned for each micro-batch, and the micro-batches (begin, end) that were run
    """
    parts: list[Part] = []
    done: list[tuple[int, int]] = []
    waiting = plan_of(spans, MICRO_BATCH if size is None else size)
    while waiting:
        begin, end = waiting.pop(0)
        try:
            parts.append(make(begin, end))
        except torch.OutOfMemoryError:
            waiting = plan_of([s for s in spans if s[0] >= begin], (end - begin) // 2)
            if waiting[0] == (begin, end):
                raise
            continue
        done.append((begin, end))
    return parts, done


class Best:
    """The best 8-bit iterate of each image with its own score and predictions."""

    def __init__(self, images: int, checks: int, patience: int | None) -> None:
        self.patience = patience
        self.trace = np.full((images, checks), np.nan, dtype=np.float32)
        self.scores = np.full(images, -np.inf, dtype=np.float32)
        self.since = np.zeros(images, dtype=np.int64)
        self.stopped = np.zeros(images, dtype=np.bool_)
        self.check = 0

    def end(self) -> None:
        """Cut the trace after the last check that was made."""
        self.trace = self.trace[:, : self.check]

    def update(self, pixels: Tensor, answers: Answers, shown: Tensor | None = None) -> None:
        """Keep the images that have improved; an image that has stopped stays as it is.

        Parameters
        ----------
        pixels : Tensor of shape (B, H, W, C), uint8
        answers : Answers to `pixels`
        shown : Tensor of shape (B, C, H, W), in [0, 1], or None
            The same images before rounding.
        """
        if self.check == 0:
            self.pixels = np.zeros(tuple(pixels.shape), dtype=np.uint8)
            self.shown = None if shown is None else torch.zeros_like(shown, requires_grad=False)
            self.predicted, self.sd = np.zeros_like(answers.mean), np.zeros_like(answers.sd)
        self.trace[~self.stopped, self.check] = answers.scores[~self.stopped]
        better = (answers.scores > self.scores) & ~self.stopped
        self.scores[better] = answers.scores[better]
        self.pixels[better] = pixels.cpu().numpy()[better]
        if self.shown is not None and shown is not None:
            mask = torch.from_numpy(better).to(shown.device)
            self.shown[mask] = shown.detach()[mask]
        self.predicted[better], self.sd[better] = answers.mean[better], answers.sd[better]
        self.since = np.where(better, 0, self.since + 1)
        if self.patience is not None:
            self.stopped |= self.since >= self.patience
        self.check += 1


def seed_from(*names: str | int) -> int:
    """A seed of names: the first 63 bits of SHA-256 of one name per line."""
    return int.from_bytes(hashlib.sha256("\n".join(map(str, names)).encode()).digest()[:8], "big") >> 1


def generator_for(row_name: str, seed: int) -> torch.Generator:
    """The CPU generator of one image, seeded by its row name and seed."""
    return torch.Generator().manual_seed(seed_from(row_name, seed))


def plan_of(spans: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """Micro-batches of at most `size` images, or of one span (`Objective.spans`) where that is larger."""
    plan, begin, end = [], spans[0][0], spans[0][0]
    for first, last in spans:
        if last - begin > size and end > begin:
            plan.append((begin, end))
            begin = first
        end = last
    return [*plan, (begin, end)]


class StepScores:
    """The scores of the steps since the last check: to look at them waits for the device, so a check does it for all.

    Parameters
    ----------
    names : sequence of B str
        For error messages.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names
        self.waiting: list[tuple[Tensor, int]] = []

    def add(self, scores: Tensor, step: int) -> None:
        """Keep the scores (B,) of a step; refused where they do not depend on the images."""
        check_depends(scores)
        self.waiting.append((scores.detach(), step))

    def look(self) -> None:
        """Refuse the first scores that are not finite."""
        for scores, step in self.waiting:
            _check_finite_scores(scores, self.names, step)
        self.waiting.clear()


def check_scores(scores: Tensor, names: Sequence[str], step: int) -> None:
    """Refuse scores (B,) that are not finite, or do not depend on the images."""
    check_depends(scores)
    _check_finite_scores(scores, names, step)


def check_depends(scores: Tensor) -> None:
    """Refuse scores (B,) without a gradient."""
    if not scores.requires_grad:
        raise ValueError(
            "the objective does not depend on the image: its gradient is cut. Likely cause: the encoder detaches its "
            "input, leaves torch, or runs under no_grad"
        )


def _check_finite_scores(scores: Tensor, names: Sequence[str], step: int) -> None:
    finite = torch.isfinite(scores.detach())
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise ValueError(
            f"the objective of image {index} ({names[index]}) is {scores[index].item()} at step {step}; expected a "
            "finite score. Likely cause: the encoder gives NaN or infinity for this image. Check it with natural "
            "images, and try a smaller learning rate"
        )


def check_finite(values: Tensor, names: Sequence[str], what: str = "the image") -> None:
    """Refuse images or scores (B, ...) that hold NaN or infinity, which 8-bit pixels would silently turn into black."""
    finite = torch.isfinite(values).flatten(1).all(1) if values.dim() > 1 else torch.isfinite(values)
    if not bool(finite.all()):
        index = int((~finite).nonzero()[0])
        raise ValueError(
            f"{what} of {names[index]} is not finite. Likely cause: the prior or the encoder overflows. In float16, "
            "try bfloat16 or float32; else check both on a photograph"
        )


def named(error: ConstraintError, names: Sequence[str], step: int) -> ConstraintError:
    """The same error with the step and the name of the image at the beginning of its message."""
    where = f"{names[error.index]}: " if 0 <= error.index < len(names) else ""
    return ConstraintError(f"step {step}, {where}{error}", reachable=error.reachable, index=error.index)


def collect(
    encoder: EncoderLike,
    parts: Sequence[Best],
    rows: Objective,
    *,
    seeds: NDArray[np.int64],
    start_ids: tuple[str, ...],
    known: Attributes,
    settings: dict[str, Any],
) -> StimulusBatch:
    """The best images of all micro-batches as one batch of S images; `seeds` (S,) and `start_ids` are theirs."""
    predicted = np.concatenate([b.predicted for b in parts])
    images = np.concatenate([b.pixels for b in parts])
    distance, outside = familiarity(encoder, images)
    exact = [_predicted(encoder, b.shown) for b in parts if b.shown is not None]
    return StimulusBatch(
        images=images,
        distance=distance,
        outside=outside,
        predicted=predicted,
        unrounded_predicted=np.concatenate(exact) if len(exact) == len(parts) else None,
        predicted_sd=np.concatenate([b.sd for b in parts]),
        scores=np.concatenate([b.scores for b in parts]),
        row_names=rows.row_names,
        kinds=rows.kinds,
        targets=rows.targets,
        seeds=seeds,
        start_ids=start_ids,
        trace=np.concatenate([b.trace for b in parts]),
        site_ids=default_site_ids(known, predicted.shape[1]),
        encoder_fingerprint=known.fingerprint,
        objective_description=rows.describe(),
        settings=settings,
        versions={
            "synth": package_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def batch_of(
    encoder: EncoderLike,
    pixels: NDArray[np.uint8],
    rows: Objective,
    *,
    seeds: Sequence[int],
    start_ids: Sequence[str],
    settings: dict[str, Any],
) -> StimulusBatch:
    """Images that are there already, uint8 (S, H, W, C), as a batch: predictions and scores of these 8-bit pixels.

    Parameters
    ----------
    rows : Objective of S rows
        What each image was made for.
    seeds, start_ids : S of each
    settings : dict
        Of the generator.
    """
    known = attributes_of(encoder)

    def answered(begin: int, end: int) -> Best:
        part = torch.from_numpy(np.ascontiguousarray(pixels[begin:end]))
        bound = rows[begin:end].bind(known.site_ids, known.mean, known.sd).to(known.device)
        best = Best(end - begin, 1, None)
        best.update(part, evaluating(encoder, bound, part.to(known.device)))
        return best

    parts, _ = in_micro_batches(rows.spans, None, answered)
    return collect(
        encoder,
        parts,
        rows,
        seeds=np.array(seeds, dtype=np.int64),
        start_ids=tuple(start_ids),
        known=known,
        settings={**settings, "check_steps": [0]},
    )


def package_version() -> str:
    """The version of this package, read from the text of ``synth/__init__.py``, which imports this module."""
    text = Path(__file__).with_name("__init__.py").read_text(encoding="utf-8")
    return re.findall(r'^__version__ = "(.+)"', text, re.MULTILINE)[0]  # type: ignore[no-any-return]


@torch.no_grad()
def _predicted(encoder: EncoderLike, images: Tensor) -> NDArray[np.float32]:
    """Mean over members of the responses to images (B, C, H, W): (B, U)."""
    responses = encoder(images.contiguous())
    mean: NDArray[np.float32] = (responses if responses.dim() == 2 else responses.mean(0)).cpu().float().numpy()
    return mean
