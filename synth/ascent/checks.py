"""Checks of the arguments of `ascend`, before any work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.batches import generator_for
from synth.contract import Attributes
from synth.objectives import Objective
from synth.probe import Asked, ask_encoder, check_answers, probe_images
from synth.rules import Rule

from .climb import Run


def check_dropping(keep: int | None, after: int, seeds: int, *, steps: int, budget_s: float | None) -> None:
    """Refuse to keep more seeds than there are, to drop after more steps than are made, and to drop with a budget."""
    if keep is None:
        return
    if not 1 <= keep <= seeds or not 1 <= after <= steps:
        raise ValueError(
            f"keep_seeds {keep} of {seeds} seeds after {after} of {steps} steps; expected 1 to {seeds} seeds, after 1 "
            f"to {steps} steps (drop_after)"
        )
    if budget_s is not None:
        raise ValueError(
            f"budget_s {budget_s:g} with keep_seeds {keep}; expected one of them: a budget's steps are counted in "
            "images that all climb to the end"
        )


def check_run(run: Run, rows: int, seeds: Sequence[int], *, batch_size: int | None) -> None:
    """Refuse counts below 1, a learning rate not above 0, snapshots after the last step, and no images at all."""
    counts = {
        "steps": run.steps,
        "draws": run.draws,
        "check_every": run.check_every,
        "patience": run.patience,
        "batch_size": batch_size,
    }
    for name, value in counts.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if not run.learning_rate > 0:
        raise ValueError(f"learning_rate is {run.learning_rate}; expected a number above 0")
    if not seeds or not rows:
        raise ValueError(
            f"nothing to climb: {'no seeds' if rows else 'an objective without rows'}; expected at least one"
        )
    wrong = [s for s in run.snapshots if not 0 <= s <= run.steps]
    if wrong:
        raise ValueError(f"snapshots at the steps {wrong}; expected steps from 0 to {run.steps}, the last")


def check_budget(budget_s: float | None, rule: Rule | None, patience: int | None) -> None:
    """Refuse a budget that is not above 0, or with a setting that needs to know the last step."""
    if budget_s is None:
        return
    if not 0 < budget_s < float("inf"):
        raise ValueError(f"budget_s is {budget_s}; expected a number of seconds above 0")
    if patience is not None:
        raise ValueError(
            f"budget_s {budget_s:g} with patience {patience}; expected one of them: a budget's steps are counted in "
            "images that all climb"
        )
    if rule is not None and not rule.steady:
        raise ValueError(
            f"budget_s {budget_s:g} with a rule that follows the progress of the run, or may do so, but a budget does "
            "not say when the run ends; expected no schedule and only changes of synth.rules with fixed settings, or "
            "steps= instead of a budget"
        )


def asked_encoder(run: Run, objective: Objective, known: Attributes, *, starts: Tensor | None) -> Asked:
    """The encoder of a run, asked before the first step; `starts` (N, C, H, W) are those of the images, or None.

    Raises
    ------
    ValueError
        The encoder or the objective cannot serve.
    """
    bound = objective.bind(known.site_ids, known.mean, known.sd)
    images = probe_images(_image_shape(run, starts), run.device)
    dtype = torch.float32 if starts is None else starts.dtype
    asked = ask_encoder(run.encoder, images, site_ids=known.site_ids, dtype=dtype)
    check_answers(asked, bound, known.site_ids)
    return asked


def _image_shape(run: Run, starts: Tensor | None) -> Sequence[int]:
    """(C, H, W) of the images: of the parameterisation, the starts or a constraint, else of an image that is made."""
    for known in (run.parameterisation, *run.constraints):
        shape = getattr(known, "shape", None)
        if isinstance(shape, list | tuple) and len(shape) == 3:
            return tuple(shape)
    if starts is not None:
        return starts.shape[1:]
    variables = run.of_rows([0]).parameterisation([generator_for("probe", 0)], None, run.device)
    return variables().shape[1:]  # type: ignore[no-any-return]


def start_of(start: Tensor | NDArray[np.floating[Any]] | None) -> Tensor | None:
    """The start as a tensor: one of numpy is taken as it is, another floating-point type than 32 or 64 bits as float32.

    Raises
    ------
    ValueError
        Neither a tensor nor an array of numbers.
    """
    if start is None:
        return None
    if not isinstance(start, Tensor):
        if not isinstance(start, np.ndarray) or start.dtype.kind not in "fiub":
            raise ValueError(
                f"start of type {type(start).__name__}; expected a tensor or an array of images, floating point in "
                "[0, 1]"
            )
        start = torch.from_numpy(np.ascontiguousarray(start))
    start = start.detach()
    start = start.clone() if start.is_inference() else start
    return start.float() if start.dtype in (torch.float16, torch.bfloat16) else start


def starts_of(start: Tensor | None, rows: int, seeds: int) -> Tensor | None:
    """The start of every image, (rows * seeds, C, H, W)."""
    if start is None:
        return None
    fits = start.dim() == 4 or (start.dim() == 5 and start.shape[1] == seeds)
    if not fits or len(start) != rows or not start.is_floating_point():
        raise ValueError(
            f"start of shape {tuple(start.shape)} and type {start.dtype}; expected one image per row, ({rows}, C, H, "
            f"W), or per row and seed, ({rows}, {seeds}, C, H, W), floating point in [0, 1]"
        )
    low, high = float(start.min()), float(start.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"start ranges from {low:g} to {high:g}; expected [0, 1]: divide 8-bit pixels by 255")
    each = start.flatten(0, 1) if start.dim() == 5 else start.repeat_interleave(seeds, 0)
    return each.contiguous()  # sums are added in the order of memory


def start_names_of(start_ids: Sequence[Sequence[str]] | None, rows: int, seeds: int) -> tuple[str, ...]:
    """Name of the start of every image, (rows * seeds,); "" where none is given."""
    if start_ids is None:
        return ("",) * (rows * seeds)
    if len(start_ids) != rows or any(len(names) != seeds for names in start_ids):
        raise ValueError(f"start_ids of lengths {[len(n) for n in start_ids]}; expected {rows} rows of {seeds} names")
    return tuple(str(name) for names in start_ids for name in names)
