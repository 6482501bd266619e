"""A whole experiment that is cheap: the real commands on 30 tiny photographs and two networks of random weights.

Only the mathematics of a fit is left out (`_small_fit`). The clock stands still, so that two runs write the same bytes.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import io
import itertools
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import h5py
import numpy as np
import torch
from PIL import Image
from typer.main import get_command

from encoders import Encoder, EncoderInfo, FactorisedReadout, Recording, backbone
from encoders.backbones.features import to_images
from encoders.fitting.predict import predict_stored
from protocols.disk.files import sha256_file, write_text
from protocols.disk.locks import hold
from protocols.models import pair
from protocols.project.arms import ArmName
from protocols.project.config.config import Config, ProjectConfig
from protocols.project.config.evolution import EvolutionConfig
from protocols.project.config.protocol import ArmsConfig, EvaluationConfig, LoopConfig, ProtocolConfig
from protocols.project.config.synthesis import SynthesisConfig
from protocols.project.config.template import template
from protocols.project.display import Display
from protocols.project.folder import Project, Round
from protocols.project.generations.files import Evolution
from protocols.project.outbox import read_order

SIDE, PHOTOGRAPHS, LAYER = 16, 30, "features.3"
SITES = ("v4_000", "v4_001", "v4_002")
NOW = datetime.datetime(2026, 11, 21, 9, 30, tzinfo=datetime.UTC)
DISPLAY = Display(width_px=SIDE, height_px=SIDE, size_deg=4.0, background=128, colour="grey")


def settings(kinds: tuple[ArmName, ...] = (), **evolution: Any) -> Config:
    """What project.toml says: one round of a few images, one target site."""
    return Config(
        project=ProjectConfig(name="soak", species="simulated"),
        display=DISPLAY,
        synthesis=SynthesisConfig(steps=1, objectives=("stretch",), targets=SITES[:1]),
        protocol=ProtocolConfig(
            repeats=8, blocks=2, natural_images=2, baseline_repeats=2, references=1, blanks_per_block=1
        ),
        arms=ArmsConfig(kinds=kinds),
        evaluation=EvaluationConfig(permutations=99, alpha=0.05),
        loop=LoopConfig(rounds=1),
        evolution=EvolutionConfig(**evolution),
    )


def evolving() -> Config:
    """The same with two generations of four images before the round."""
    return settings(
        ("evolved",),
        generations=2,
        targets=SITES[:1],
        population=4,
        references=1,
        reference_repeats=1,
        candidates=1,
        candidate_repeats=2,
        cutoff=3.0,
    )


@dataclass(frozen=True)
class Step:
    """One command of the experiment.

    Attributes
    ----------
    name : str
    words : tuple of str
        What a user types after ``stimsynth``; ``{p}`` stands for the project, ``{w}`` for the folder round it.
    before : callable or None
        What the rig or the user does first, without faults; gets the folder round the project.
    ends : tuple of int
        Exit codes of a command that went well.
    """

    name: str
    words: tuple[str, ...]
    before: Callable[[Path], None] | None = None
    ends: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, what it told, and the traceback that a user would see."""

    code: int
    told: str
    traceback: str = ""


def command(step: Step, folder: Path, *, own: bool = False) -> Ended:
    """Carry out the command of `step` in this process, as the command line does.

    `own`: this process serves that command alone, so its number is the real one.
    """
    with contextlib.nullcontext() if own else new_process():
        return _commanded([w.format(p=folder / "project", w=folder) for w in step.words])


_numbers = itertools.count(5_000_000)


def new_process() -> Any:
    """The number of a process that no system gives: those of before are gone."""
    number = next(_numbers)
    return mock.patch.object(os, "getpid", return_value=number)


def _commanded(words: list[str]) -> Ended:
    from protocols.__main__ import main  # type: ignore[attr-defined]  # the command line as its module runs it

    told = io.StringIO()
    with (
        mock.patch.object(sys, "argv", ["stimsynth", "--quiet", *words]),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(told),
    ):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
            return Ended(code, told.getvalue())
        except Exception as error:  # what no handler of the command line took is a traceback for its user
            return Ended(1, told.getvalue(), f"{type(error).__name__}: {error}")
    return Ended(0, told.getvalue())


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    """The clock stands still, few photographs are enough, and a fit takes two random networks."""
    with contextlib.ExitStack() as stack:
        clock = SimpleNamespace(now=lambda zone=None: NOW)
        stack.enter_context(mock.patch("protocols.project.folder.datetime", clock))
        stack.enter_context(mock.patch("protocols.loop.today", return_value=f"ses_{NOW:%Y%m%d}"))
        for module in ("protocols.project.photograph_import", "protocols.recordings.adopt"):
            stack.enter_context(mock.patch(f"{module}.MINIMUM", PHOTOGRAPHS))
        stack.enter_context(mock.patch("protocols.models.fit.fit_encoder", _small_fit))
        stack.enter_context(mock.patch.object(pair, "load_encoder", _opened))
        importlib.import_module("protocols.__main__")
        door = sys.modules["protocols.cli.app"]
        stack.enter_context(mock.patch.object(door, "app", get_command(door.app)))  # built once, not for each command
        yield


def _small_fit(recording: Recording, options: Any = None, *, cache: Path, **_: Any) -> Any:
    """Two readouts of random weights in place of a fit, with the features in the cache, as a fit leaves them."""
    photographs = to_images(recording.pixels[recording.natural], torch.device("cpu"))
    pair = [_encoder(photographs, seed) for seed in (1, 2)]
    for encoder in pair:
        predict_stored(encoder, recording.pixels, cache, device="cpu")
    scores = dict.fromkeys(("held_out_r", "held_out_r_nc", "held_out_feve", "validator_r"), 0.5)
    sites = [{"site_id": s, "eligible_fit": True, "eligible_target": s == SITES[0], **scores} for s in SITES]
    report = SimpleNamespace(to_dict=lambda: {"sites": sites})
    return SimpleNamespace(encoder=pair[0], validator=pair[1], final=None, report=report)


_KEPT: dict[int, Encoder] = {}
_OPENED: dict[bytes, Any] = {}
_open = pair.load_encoder


def _opened(project: Project, name: str) -> Any:
    """The encoder of a folder, built once for the same bytes: what is read is read each time."""
    try:
        key = b"".join((project.fitted / name / part).read_bytes() for part in ("encoder.json", "encoder.safetensors"))
    except OSError:
        return _open(project, name)
    if key not in _OPENED:
        _OPENED[key] = _open(project, name)
    return _OPENED[key]


def _encoder(photographs: torch.Tensor, seed: int) -> Encoder:
    if seed in _KEPT:
        return _KEPT[seed]
    network = backbone("torchvision:squeezenet1_1", [LAYER], weights="random", seed=seed)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(1, *DISPLAY.shape))[LAYER].shape[1:])
    readout = FactorisedReadout({LAYER: shape}, len(SITES))
    generator = torch.Generator().manual_seed(seed)
    for parameter in readout.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    info = EncoderInfo(
        site_ids=SITES,
        target_ids=SITES[:1],
        response_unit="spikes",
        image_shape=DISPLAY.shape,
        field_of_view_deg=DISPLAY.size_deg,
        background=DISPLAY.background,
        colour=DISPLAY.colour,
        scores={"reliability": [0.9] * len(SITES)},
        settings={"layers": [LAYER], "readout": {"kind": "factorised", "pool": None}},
    )
    ones = torch.ones(len(SITES))
    with torch.no_grad():
        answers = Encoder(network, readout, info, natural_mean=ones, natural_sd=ones)(photographs)
    answers = answers if answers.dim() == 2 else answers.mean(0)
    _KEPT[seed] = Encoder(network, readout, info, natural_mean=answers.mean(0), natural_sd=answers.std(0))
    return _KEPT[seed]


def begin(folder: Path) -> None:
    """What a user has before the first command: photographs, and a recording of them made elsewhere."""
    pictures = folder / "photographs"
    pictures.mkdir(parents=True)
    rng = np.random.default_rng(3)
    for i in range(PHOTOGRAPHS):
        coarse = rng.uniform(30, 225, (4, 4)).repeat(4, 0).repeat(4, 1)
        pixels = (coarse + rng.normal(0, 10, coarse.shape)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(pictures / f"img_{i:03d}.png")
    ids = [f"img_{i:03d}" for i in range(PHOTOGRAPHS)]
    _write(folder / "recording.h5", np.repeat(ids, 4).tolist(), {}, {})


def _write(path: Path, images: Sequence[str], trial: dict[str, Any], attributes: dict[str, Any]) -> None:
    """A file of responses in which each image has its own mean."""
    names = sorted(set(images))
    rng = np.random.default_rng([len(images), len(names)])
    means = rng.uniform(2, 20, (len(names), len(SITES)))
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file["responses"] = rng.poisson(means[[names.index(i) for i in images]]).astype(float)
        file.create_dataset("image_id", data=list(images), dtype=text)
        file.create_dataset("site_id", data=list(SITES), dtype=text)
        for name, values in trial.items():
            file[f"trial/{name}"] = values
        file.attrs.update({"units": "spikes", "window_ms": [70.0, 170.0], **attributes})


def answer(round_: Round, name: str = "responses", *, blocks: Sequence[int] | None = None) -> Path:
    """The rig's answer to an outbox in its inbox, with its ``.done`` file; `blocks`: only the trials of these."""
    order = [t for t in read_order(round_.outbox) if blocks is None or t.block in blocks]
    path = round_.inbox / f"{name}.h5"
    trial = {"block": [t.block for t in order], "rep": [t.rep for t in order]}
    about = {"manifest_sha256": sha256_file(round_.outbox / "manifest.json")}
    _write(path, [t.image_id for t in order], trial, about)
    path.with_name(f"{path.name}.done").touch()
    return path


def _round(folder: Path, number: int) -> Round:
    return Project.open(folder / "project").round(number)


def _configure(folder: Path) -> None:
    write_text(folder / "project" / "project.toml", template(settings()))


def _configure_evolution(folder: Path) -> None:
    write_text(folder / "project" / "project.toml", template(evolving()))


def _answer_in_parts(folder: Path) -> None:
    for block in range(2):
        answer(_round(folder, 0), f"responses_block_{block:02d}", blocks=[block])


def _answer(folder: Path) -> None:
    answer(_round(folder, 1))


def _correct(folder: Path) -> None:
    """A corrected answer beside the project, as a user gives with --replace."""
    path = answer(_round(folder, 1))
    with h5py.File(path, "a") as file:
        file["responses"][...] = file["responses"][...] + 1
    path.replace(folder / "corrected.h5")
    path.with_name(f"{path.name}.done").unlink()


def _answer_generation(folder: Path) -> None:
    generation = Evolution(_round(folder, 1)).open_generation()
    assert generation is not None
    generation.inbox.mkdir(exist_ok=True)
    answer(generation)


INIT = Step("init", ("init", "{p}", "--width", str(SIDE)))
LOOP = (
    INIT,
    Step("export the baseline", ("export", "{p}", "--baseline", "{w}/photographs"), _configure),
    Step("ingest parts", ("ingest", "{p}"), _answer_in_parts),
    Step("fit", ("fit", "{p}")),
    Step("generate", ("generate", "{p}")),
    Step("export", ("export", "{p}")),
    Step("ingest", ("ingest", "{p}"), _answer),
    Step("evaluate", ("evaluate", "{p}")),
    Step("ingest --replace", ("ingest", "{p}", "--file", "{w}/corrected.h5", "--replace", "a unit was lost"), _correct),
    Step("run", ("run", "{p}")),
    Step("archive", ("archive", "{p}", "{w}/archive")),
    Step("generate --out", ("generate", "{p}", "--out", "{w}/batch")),
)
"""The loop with a baseline that is shown, its answer in parts."""
ELSEWHERE = (
    INIT,
    Step("fit --images", ("fit", "{p}", "--images", "{w}/photographs", "--responses", "{w}/recording.h5"), _configure),
)
"""A baseline that was recorded elsewhere."""
EVOLUTION = (
    INIT,
    Step("adopt", ("fit", "{p}", "--images", "{w}/photographs", "--responses", "{w}/recording.h5"), _configure),
    Step("evolve: first images", ("evolve", "{p}"), _configure_evolution, (4,)),
    Step("evolve: scores", ("evolve", "{p}"), _answer_generation, (4,)),
    Step("evolve: the end", ("evolve", "{p}"), _answer_generation, (0, 4)),
)
"""Evolution on the rig, without an encoder."""
SMALL = {"small": LOOP[:3]}
"""The beginning alone, for a test."""
JOURNEYS: dict[str, tuple[Step, ...]] = {"loop": LOOP, "elsewhere": ELSEWHERE, "evolution": EVOLUTION}


def settle(folder: Path) -> None:
    """What the next command does before its own work: what this one could not delete is swept."""
    with new_process(), hold(folder / "project", "settle"):
        pass


def warm() -> None:
    """Import what the commands import when they run, so that no trial waits for it."""
    for name in ("protocols.loop", "protocols.report.page", "protocols.evolution.advance", "protocols.demo"):
        importlib.import_module(name)
