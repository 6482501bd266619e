"""The folds of ``fit --compare`` as shards: every outer fold of every candidate is fitted by itself, in any process."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from encoders.fitting.candidates import read_candidates
from encoders.fitting.compare import Bench, FoldFit, prepare
from encoders.fitting.options import PRESETS
from encoders.fitting.recording import Recording
from encoders.reliability import reliability_of_means
from encoders.splits import hold_out
from protocols.arrays import Bools, Ints
from protocols.devices import one_thread
from protocols.disk.files import sha256_bytes, sha256_file, write_atomically
from protocols.disk.numpy_files import open_npz
from protocols.errors import DataError
from protocols.packages import version
from protocols.progress import Reporter
from protocols.project.config.encoder import EncoderConfig
from protocols.project.folder import Project
from protocols.recordings.dataset import Dataset, baseline_file, gather
from protocols.shards.engines import Engine, Processes
from protocols.shards.plan import HOME, ShardPlan
from protocols.shards.run import check_done, run_plan
from protocols.shards.work import run_shard

from .fit import names_of_groups

__all__ = ["Compared", "fold_shard", "folds", "forget", "layers_of", "prepared"]

LONG = 20_000
"""Folds times images from which on processes are begun unasked: each takes seconds to begin. Chosen, not measured."""


@dataclass(frozen=True, eq=False)
class Compared:
    """What a comparison is made on.

    Attributes
    ----------
    data : Dataset
        The baseline.
    keep : array of bool, shape (N,)
        Photographs that are not held out.
    columns : array of int
        Sites of `data` that are reliable enough.
    bench : Bench
        The folds to fit.
    """

    data: Dataset
    keep: Bools
    columns: Ints
    bench: Bench


def prepared(project: Project, table: Any, *, device: str = "cpu") -> Compared:
    """The candidates of the parsed `table` on the project's baseline, before anything is fitted.

    Raises
    ------
    ValueError
        The table names what does not exist.
    DataError
        F04: no site is reliable enough.
    """
    settings = project.config.encoder.settled()
    data = gather(project, [])
    names = names_of_groups(project, data)
    keep = ~hold_out(names, settings.holdout_fraction, seed=settings.seed)
    number = np.where(keep, np.cumsum(keep) - 1, -1)
    index = np.where(data.image_index >= 0, number[data.image_index], -1)
    columns, unrepeated = np.arange(len(data.site_ids)), False
    if data.averaged_over is None:
        reliability = reliability_of_means(data.values, index, n_images=int(keep.sum()))
        columns = np.flatnonzero(reliability >= settings.reliability_fit)
        unrepeated = bool(np.isnan(reliability).all())
    if not len(columns):
        raise _no_reliable_site(project, unrepeated=unrepeated)
    recording = Recording(
        pixels=data.pixels[keep],
        values=data.values[:, columns],
        image_index=index,
        site_ids=[data.site_ids[u] for u in columns],
        unit=data.unit,
        field_of_view_deg=project.display.size_deg,
        background=project.display.background,
        colour=project.display.colour,
        groups=[name for name, kept in zip(names, keep, strict=True) if kept],
        coordinates=None if data.coordinates is None else data.coordinates[columns],
        averages=data.averaged_over is not None,
        repeats=data.averaged_over,
    )
    candidates = read_candidates(table, layers=layers_of(settings))
    how: dict[str, Any] = {"device": device, "cache": project.folder / "cache"}
    bench = prepare(candidates, recording, folds=settings.folds, seed=settings.seed, **how)
    return Compared(data, keep, columns, bench)


def layers_of(settings: EncoderConfig) -> Sequence[str]:
    """Layers of a candidate that names none."""
    return settings.layers or PRESETS[settings.preset or "diverse"]


def _no_reliable_site(project: Project, *, unrepeated: bool) -> DataError:
    """F04; `unrepeated`: nothing is known of the trial noise."""
    return DataError(
        str(project.folder),
        found=f"no site with a reliability of at least {project.config.encoder.reliability_fit}",
        expected="some sites that answer alike to repeats of one image",
        cause=(
            "the file holds one row per picture, so that nothing is known of the trial noise"
            if unrepeated
            else "image ids and responses were joined wrongly, or there are too few repeats"
        ),
        fix=(
            "if the rows are averages, write the number of trials behind each as trial/averaged_over into the file"
            if unrepeated
            else "look at the recording with `stimsynth fit` first"
        ),
        code="F04",
    )


def folds(
    project: Project,
    table: Any,
    bench: Bench,
    *,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> list[list[FoldFit]]:
    """The fits of every outer fold of `bench.fitted`.

    On a CPU each is made by one thread, so that the numbers are the same here, in several processes, and on a cluster.

    Raises
    ------
    DataError
        G04: a fold failed, or its worker was lost again and again.
    """
    if engine is None or not _divided(engine, bench):
        return _here(bench, device=device, progress=progress)
    for candidate in bench.fitted:
        bench.features(candidate, progress)  # into the cache, once
    device = getattr(engine, "device", None) or device
    common = {"candidates": table, "device": torch.device(device).type}
    shards = [
        {"candidate": c, "name": candidate.name, "fold": k}
        for c, candidate in enumerate(bench.fitted)
        for k in range(bench.folds)
    ]
    home = project.folder / "cache" / HOME
    plan = ShardPlan.place(home, "comparison", common=common, shards=shards, inputs=_inputs(project), suffix=".npz")
    run_plan(plan, fold_shard, engine, progress=progress)
    check_done(plan)
    fits = [read_fit(plan.result(i)) for i in range(len(plan))]
    return [fits[c * bench.folds : (c + 1) * bench.folds] for c in range(len(bench.fitted))]


def _divided(engine: Engine, bench: Bench) -> bool:
    """Whether the folds are worth several processes."""
    if isinstance(engine, Processes):
        return not engine.least_s or len(bench.fitted) * bench.folds * len(bench.pixels) >= LONG
    return engine.name != "this process"


def forget(project: Project) -> None:
    """Remove the shards of comparisons, once a comparison is written."""
    for plan in (project.folder / "cache" / HOME).glob("comparison_*"):
        shutil.rmtree(plan, ignore_errors=True)


def _here(bench: Bench, *, device: str, progress: Reporter | None) -> list[list[FoldFit]]:
    fits = []
    for candidate in bench.fitted:
        features = bench.features(candidate, progress)
        own = []
        for fold in range(bench.folds):
            with one_thread(device == "cpu"):
                own.append(bench.fold(candidate, features, fold))
            if progress is not None:
                progress(candidate.name, fold + 1, bench.folds)
        fits.append(own)
        del features  # before those of the next
    return fits


def _inputs(project: Project) -> dict[str, str]:
    """What the fits depend on beside their plan."""
    settings = json.dumps(project.config.to_dict(), sort_keys=True)
    inputs = {
        "version of stimsynth": version(),
        "version of torch": str(torch.__version__),
        "project.toml": sha256_bytes(settings.encode()),
        "table of photographs": sha256_file(project.data / "natural.csv"),
    }
    recording = baseline_file(project)
    return inputs | ({} if recording is None else {"baseline": sha256_file(recording)})


def fold_shard(folder: str, index: int) -> dict[str, Any]:
    """Fit one fold of one candidate, wherever this runs; see `protocols.shards.work.run_shard`."""
    return run_shard(folder, index, _fold)


def _fold(plan: ShardPlan, index: int, out: Path, *, progress: Reporter) -> None:
    project = Project.open(plan.folder.parents[2]).for_stage()
    plan.check_inputs(_inputs(project))
    own, device = plan.shards[index], str(plan.common["device"])
    bench, number = _bench(plan.folder, device), int(own["candidate"])
    features = _features(plan.folder, number, device)
    with one_thread(device == "cpu"):
        fit = bench.fold(bench.fitted[number], features, int(own["fold"]))
    write_fit(fit, out)


@lru_cache(maxsize=1)
def _bench(folder: Path, device: str) -> Bench:
    """The recording and candidates of a plan, opened once per process."""
    project = Project.open(folder.parents[2]).for_stage()
    return prepared(project, ShardPlan.load(folder).common["candidates"], device=device).bench


@lru_cache(maxsize=1)
def _features(folder: Path, candidate: int, device: str) -> dict[str, Tensor]:
    """Features of the folds that a process fits one after the other, opened once per candidate."""
    bench = _bench(folder, device)
    return bench.features(bench.fitted[candidate])


def write_fit(fit: FoldFit, path: Path) -> None:
    """Write the fits of a fold as a .npz archive."""
    arrays = {name: value.numpy() if isinstance(value, Tensor) else value for name, value in fit._asdict().items()}
    write_atomically(path, lambda temporary: _save(temporary, arrays))


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def read_fit(path: Path) -> FoldFit:
    """The fits of a fold from a .npz archive."""
    with open_npz(path) as file:
        tensors = {name: torch.from_numpy(file[name]) for name in ("outputs", "left_out", "layer_weights")}
        return FoldFit(**tensors, seconds=float(file["seconds"]), memory=int(file["memory"]))
