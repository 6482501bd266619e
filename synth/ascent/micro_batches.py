"""All images of one call of `ascend`, climbed in micro-batches, with a time budget or with dropping of seeds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from synth.batches import Best, generator_for, in_micro_batches
from synth.contract import Attributes, Progress
from synth.graded import Snapshots
from synth.objectives import Objective

from .climb import Run, climb_batch


class Ascent:
    """Every row of an objective from every seed, in the order row 0 seed 0, row 0 seed 1, ...

    Attributes
    ----------
    run : Run
        What all micro-batches share; a budget lowers its number of steps once.
    rows : Objective
        One row per image.
    seed_of_image : array of shape (R x seeds,), int64
    kept : list of int
        The images that are climbed to the end; all, unless seeds were dropped.
    """

    def __init__(
        self,
        run: Run,
        objective: Objective,
        seeds: Sequence[int],
        *,
        known: Attributes,
        starts: Tensor | None,
        progress: Progress | None,
    ) -> None:
        self.run, self.objective, self.known, self.starts = run, objective, known, starts
        self.rows = objective.repeat(len(seeds))
        self.seed_of_image = np.tile(np.array(seeds, dtype=np.int64), len(objective))
        self.names = [f"{row}, seed {seed}" for row, seed in zip(self.rows.row_names, self.seed_of_image, strict=True)]
        self.kept = list(range(len(self.rows)))
        self.progress, self.done = progress, 0  # image-steps

    def drop_seeds(self, keep: int, after: int, batch_size: int | None) -> None:
        """Climb all images for `after` steps and keep those of the `keep` best seeds of each row."""
        first_steps = self.run.first_steps(after)
        total = after * len(self.rows) + self.run.steps * keep * len(self.objective)

        def scores(begin: int, end: int) -> NDArray[np.float32]:
            tell = self._reporter(begin * after, end - begin, total=total)
            best, _, _ = self._climb(range(begin, end), first_steps, tell=tell)
            return best.scores

        parts, _ = in_micro_batches(self.rows.spans, batch_size, scores)
        self.kept = best_seeds(self.objective, np.concatenate(parts), keep)
        self.done = after * len(self.rows)

    def finish(
        self, batch_size: int | None, budget_s: float | None
    ) -> tuple[list[tuple[Best, Snapshots]], list[tuple[int, int]]]:
        """Climb the kept images to the end; also the micro-batches (begin, end) that were really run.

        The first micro-batch decides how many steps the budget, in seconds, allows; all others make as many.
        """

        def climb(begin: int, end: int) -> tuple[Best, Snapshots]:
            images, deadline = self.kept[begin:end], None
            if budget_s is not None and begin == 0:
                deadline = time.monotonic() + budget_s * len(images) / len(self.kept)
            total = self.done + self.run.steps * len(self.kept)
            tell = self._reporter(self.done + begin * self.run.steps, len(images), total=total)
            best, graded, made = self._climb(images, self.run, tell=tell, deadline=deadline)
            if deadline is not None:
                self.run = self.run.cut(made)
            return best, graded

        return in_micro_batches(self.rows.take(self.kept).spans, batch_size, climb)

    def _climb(
        self, images: Sequence[int], run: Run, *, tell: Callable[[int], None], deadline: float | None = None
    ) -> tuple[Best, Snapshots, int]:
        """Climb these images together."""
        seeds = len(self.rows) // len(self.objective)
        known = self.known
        return climb_batch(
            run.of_rows([i // seeds for i in images]),
            self.rows.take(images).bind(known.site_ids, known.mean, known.sd).to(run.device),
            [generator_for(self.rows.row_names[i], int(self.seed_of_image[i])) for i in images],
            start=None if self.starts is None else self.starts[list(images)].to(run.device),
            names=[self.names[i] for i in images],
            tell=tell,
            deadline=deadline,
        )

    def _reporter(self, done: int, images: int, *, total: int) -> Callable[[int], None]:
        """Progress in image-steps of the whole run, of which `done` were made before these `images`."""
        progress = self.progress
        if progress is None:
            return lambda steps: None
        return lambda steps: progress("ascend", done + steps * images, total)


def best_seeds(objective: Objective, scores: NDArray[np.float32], keep: int) -> list[int]:
    """The images of the `keep` best seeds of every row, in order; the rows of a set count by their mean.

    `scores` (rows x seeds,) are those of all images.
    """
    by_row = scores.reshape(len(objective), -1)
    sets: dict[object, list[int]] = {}
    for i, row in enumerate(objective.rows):
        sets.setdefault(row.group or i, []).append(i)
    kept = []
    for members in sets.values():
        order = np.argsort(-by_row[members].mean(0), kind="stable")[:keep]
        kept += [i * by_row.shape[1] + int(seed) for i in members for seed in order]
    return sorted(kept)
