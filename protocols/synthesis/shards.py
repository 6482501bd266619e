"""Images in parts, the same on any number of cores: made here one after the other, or as shards of a plan, from which
any process that sees the project makes its rows.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.devices import one_thread
from protocols.disk.files import inside, sha256_bytes, sha256_file, write_atomically, write_json
from protocols.disk.numpy_files import load_npy
from protocols.models.pair import load_encoder
from protocols.packages import version
from protocols.progress import Reporter
from protocols.project.config.synthesis import DiffusionConfig
from protocols.project.folder import Project
from protocols.project.photographs import NaturalImages
from protocols.shards.array import Merge
from protocols.shards.engines import Engine, Processes, Serial
from protocols.shards.plan import HOME, ShardPlan
from protocols.shards.run import check_done, run_plan
from protocols.shards.work import run_shard
from synth import Objective, StimulusBatch
from synth.parts import join_batches, part_size, row_parts

from .generators import make_part
from .request import Request, quick_recipe, recipe

__all__ = ["image_shard", "joined", "make", "place_images"]

PER_PIXEL_S = 1.2e-6
"""Seconds of a gradient step per pixel of an image, about: 19 ms per image of 128 x 128 (EfficientNet-Lite0)."""
JOINED = "joined.json"
"""File of a plan whose shards were joined in the process that ran it."""
STARTS = "starts"
"""Folder of a plan with the pixels that its shards start from."""


def make(
    generator: str,
    project: Project,
    encoder: Encoder | Ensemble,
    *,
    objective: Objective,
    request: Request,
    device: str = "cpu",
    engine: Engine | None = None,
    progress: Reporter | None = None,
) -> StimulusBatch:
    """Images of the generator `generator`, one of `protocols.synthesis.generators.GENERATORS`.

    The rows are divided into parts (`synth.parts.row_parts`), which do not depend on `engine`: where it makes them side
    by side the images are the same, on a CPU bit for bit, since every part is made by one thread. A run with a time
    budget is one part; its steps depend on the machine anyway.

    Parameters
    ----------
    engine : Engine or None
        Where the parts are made; None = here, one after the other. Another process finds the encoder by its
        fingerprint in ``fitted/`` of the project.

    Raises
    ------
    ValueError
        A time budget on other machines.
    PartDone, MergedBefore
        The engine is a part of an array job, or its merging step that was made before.
    """
    images = len(objective) * len(request.seeds)
    timed = request.budget_s is not None
    size = part_size(images) if request.batch_size is None else request.batch_size
    parts = [range(len(objective))] if timed else row_parts(objective, len(request.seeds), size)
    asked = request if timed else replace(request, batch_size=size)
    own = isinstance(engine, Processes) and (len(parts) == 1 or _seconds(images, request) < engine.least_s)
    if engine is None or isinstance(engine, Serial) or own:
        made, done = [], 0
        for rows in parts:
            tell = _offset(progress, done, len(rows), total=len(objective))
            with one_thread(len(parts) > 1 and device == "cpu"):
                made.append(
                    make_part(
                        generator,
                        project,
                        encoder,
                        objective=objective.take(rows),
                        request=asked.of_rows(rows),
                        device=device,
                        progress=tell,
                    )
                )
            done += len(rows)
        return join_batches(made)
    if timed:
        raise ValueError("seconds on other machines; expected steps: how many fit into a time differs between machines")
    device = getattr(engine, "device", None) or device
    plan = place_images(generator, project, encoder, objective=objective, request=asked, parts=parts, device=device)
    run_plan(plan, image_shard, engine, progress=progress)
    batch = joined(plan)
    if isinstance(engine, Merge):
        engine.plans.append(plan.folder)
    else:
        _keep_alone(plan)
    return batch


def _keep_alone(plan: ShardPlan) -> None:
    """Keep the shards of a plan that was joined, since what is made of them may not get written, and remove those of
    plans that were joined before.
    """
    write_json(plan.folder / JOINED, {})
    for other in plan.folder.parent.iterdir():
        if other != plan.folder and (other / JOINED).is_file():
            shutil.rmtree(other, ignore_errors=True)


def _seconds(images: int, request: Request) -> float:
    """About how long one core climbs."""
    _, height, width = request.shape
    return images * max(request.steps, 1) * height * width * PER_PIXEL_S


def _offset(progress: Reporter | None, before: int, rows: int, *, total: int) -> Reporter | None:
    """A reporter of one part as a part of all rows, of which `before` are done."""
    if progress is None or rows == total:
        return progress
    return lambda label, done, units: progress(label, units * before // rows + done, units * total // rows)


def place_images(
    generator: str,
    project: Project,
    encoder: Encoder | Ensemble,
    *,
    objective: Objective,
    request: Request,
    parts: Sequence[range],
    device: str = "cpu",
) -> ShardPlan:
    """The plan of these images in the project's cache, with the pixels that they start from."""
    common = {
        "generator": generator,
        "encoder": encoder.fingerprint,
        "seeds": list(request.seeds),
        "steps": request.steps,
        "keep_seeds": request.keep_seeds,
        "snapshots": list(request.snapshots),
        "batch_size": request.batch_size,
        "quick": request.quick,
        "diffusion": request.diffusion.model_dump(mode="json"),
        "device": torch.device(device).type,
    }
    shards, files = [], dict[str, bytes]()
    for rows in parts:
        own = request.of_rows(rows)
        name = None
        if own.start is not None:
            data = _packed((own.start * 255).round().to(torch.uint8).numpy())
            name = f"{sha256_bytes(data)[:16]}.npy"
            files[name] = data
        shards.append({"objective": objective.take(rows).describe(), "start": name, "start_ids": own.start_ids})
    home = project.folder / "cache" / HOME
    plan = ShardPlan.place(home, "images", common=common, shards=shards, inputs=_inputs(project))
    for name, data in files.items():
        if not (plan.folder / STARTS / name).is_file():
            _write(plan.folder / STARTS / name, data)
    return plan


def _write(path: Path, data: bytes) -> None:
    def write(temporary: Path) -> None:
        temporary.write_bytes(data)

    write_atomically(path, write)


def _packed(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels, allow_pickle=False)
    return stream.getvalue()


def _inputs(project: Project) -> dict[str, str]:
    """What images depend on beside their plan and encoder: the settings, the photographs, and the libraries."""
    settings = json.dumps(project.config.to_dict(), sort_keys=True)
    return {
        "version of stimsynth": version(),
        "version of torch": str(torch.__version__),
        "project.toml": sha256_bytes(settings.encode()),
        "table of photographs": sha256_file(project.data / "natural.csv"),
    }


def image_shard(folder: str, index: int) -> dict[str, Any]:
    """Make one shard of a plan of images, wherever this runs; see `protocols.shards.work.run_shard`."""
    return run_shard(folder, index, _images)


def _images(plan: ShardPlan, index: int, out: Path, *, progress: Reporter) -> None:
    project = Project.open(plan.folder.parents[2]).for_stage()
    plan.check_inputs(_inputs(project))
    common, own = plan.common, plan.shards[index]
    device = str(common["device"])
    made_of = tuple(sorted({**plan.inputs, "encoder": str(common["encoder"]), "device": device}.items()))
    how, encoder = _opened(project.folder, made_of, quick=bool(common["quick"]))
    start = None
    if own["start"] is not None:
        pixels = np.array(load_npy(inside(plan.folder / STARTS, own["start"])))
        start = torch.from_numpy(pixels).float() / 255
    request = Request(
        how,
        shape=project.display.shape,
        seeds=common["seeds"],
        steps=int(common["steps"]),
        diffusion=DiffusionConfig.model_validate(common["diffusion"]),
        start=start,
        start_ids=own["start_ids"],
        keep_seeds=common["keep_seeds"],
        snapshots=common["snapshots"],
        batch_size=common["batch_size"],
        quick=common["quick"],
    )
    with one_thread(device == "cpu"):
        batch = make_part(
            common["generator"],
            project,
            encoder,
            objective=Objective.from_description(own["objective"]),
            request=request,
            device=device,
            progress=progress,
        )
    batch.save(out)


@lru_cache(maxsize=1)
def _opened(
    folder: Path, made_of: tuple[tuple[str, str], ...], *, quick: bool
) -> tuple[dict[str, Any], Encoder | Ensemble]:
    """Recipe and encoder of the shards that a process makes one after the other, opened once.

    `made_of` names the device, the encoder and the inputs of the plan, so that nothing else is taken for them.
    """
    named, project = dict(made_of), Project.open(folder).for_stage()
    how = recipe(project, NaturalImages.load(project.data).pixels())
    if quick:
        how, _ = quick_recipe(how, project.display.shape, timed=False)
    return how, load_encoder(project, named["encoder"]).to(named["device"])


def joined(plan: ShardPlan) -> StimulusBatch:
    """The batch of all shards of a plan.

    Raises
    ------
    DataError
        G04, G05: they are not all done.
    """
    check_done(plan)
    return join_batches([StimulusBatch.load(plan.result(index)) for index in range(len(plan))])
