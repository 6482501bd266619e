"""Files of tensors, fitted encoders, batches of images, priors, decoders, tables of vectors."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from encoders.backbones.sources.files import read_content
from encoders.encoder import load
from encoders.storage import read_files
from protocols.insilico.describe.vectors import read_table
from protocols.insilico.describe.word_list import read_words
from protocols.libraries.contents import list_library
from protocols.libraries.index import Entry, LibraryIndex
from synth.batch import StimulusBatch
from synth.evolution.decoder_files import decoder_latent
from synth.objectives import stretch
from synth.priors.natural import natural
from synth.priors.weights import check_stored, read_tensors

from .images import library
from .reader import Reader

STATE = {"layer.weight": torch.arange(12.0).reshape(3, 4), "layer.bias": torch.zeros(3)}
SETTINGS = {"encoder": "enc_0", "site_ids": ["a", "b"], "members": 1, "features": 3, "display": 1}


def torch_file(folder: Path) -> None:
    torch.save({"state_dict": STATE, "epoch": 3}, folder / "w.pth")


def torch_file_of_old(folder: Path) -> None:
    torch.save(STATE, folder / "w.pt", _use_new_zipfile_serialization=False)


def tensors(folder: Path) -> None:
    save_file(STATE, folder / "w.safetensors", metadata={"format": "pt"})


def read_weights(folder: Path) -> object:
    """By the two loaders."""
    path = next(iter(folder.iterdir()), folder / "w.pth")
    made: list[Any] = []
    for read in (read_content, read_tensors):
        made.append(repr(read(path)))
    check_stored(path)
    return made


@cache
def _project() -> tuple[Any, Any]:
    """A small fitted encoder and a batch."""
    import tempfile

    helper = importlib.import_module("tests.protocols.helpers.random_network_project")
    with tempfile.TemporaryDirectory() as folder:
        project = helper.make(Path(folder) / "project")
        name = next(p.name for p in project.fitted.iterdir() if p.is_dir())
        files = {p.name: p.read_bytes() for p in (project.fitted / name).iterdir()}
    return name, files


def encoder(folder: Path) -> None:
    name, files = _project()
    (folder / name).mkdir()
    for file, data in files.items():
        (folder / name / file).write_bytes(data)


def read_encoder(folder: Path) -> object:
    path = folder / _project()[0]
    record, held = read_files(path)
    made = load(path)
    return json.dumps(record, sort_keys=True), sorted(held), repr(made.info)


def decoder(folder: Path) -> None:
    save_file(
        {"mean": torch.full((3, 4, 4), 0.5), "basis": torch.eye(5, 48).reshape(5, 3, 4, 4)}, folder / "d.safetensors"
    )


def read_decoder(folder: Path) -> object:
    return repr(decoder_latent(folder / "d.safetensors", (3, 8, 8)).shape)


def prior(folder: Path) -> None:
    config = {"widths": [8, 8], "exponent": 1.3}
    state = natural(config, (3, 16, 16)).learned.state_dict()
    save_file(state, folder / "p.safetensors", metadata={"prior": json.dumps({"config": config, "steps": 3})})


def read_prior(folder: Path) -> object:
    return repr(natural(folder / "p.safetensors", (3, 16, 16)).trained)


def vectors(folder: Path) -> None:
    np.savez(folder / "words.npz", ids=np.array(["a", "b"]), vectors=np.eye(2))
    (folder / "words.txt").write_text("# words\nround\nfurry thing\n")


def read_vectors(folder: Path) -> object:
    return read_words(folder / "words.txt"), [str(v) for v in read_table(folder / "words.npz")]


def index(folder: Path) -> None:
    """The index of a library."""
    library(folder)
    made = LibraryIndex(folder / "index", SETTINGS)
    zeros = np.zeros((1, 2), np.float32)
    made.add(
        [Entry(item.stamp, bytes(range(32)), "", zeros, np.zeros(3, np.float16)) for item in list_library(folder).items]
    )


def read_index(folder: Path) -> object:
    made = LibraryIndex(folder / "index", SETTINGS)
    rows = made.rows(list_library(folder))
    return [(p.positions.tolist(), p.predicted.tobytes()) for p in made.scan(rows)]


def batch(folder: Path) -> None:
    objective = stretch(("a", "b"))
    made = StimulusBatch(
        images=np.zeros((2, 6, 6, 3), np.uint8), predicted=np.zeros((2, 3), np.float32), predicted_sd=np.zeros((2, 3), np.float32),
        scores=np.zeros(2, np.float32), row_names=("stretch a", "stretch b"), kinds=("stretch",) * 2, targets=("a", "b"),
        seeds=np.zeros(2, np.int64), start_ids=("",) * 2, trace=np.zeros((2, 3), np.float32), site_ids=("a", "b", "c"),
        encoder_fingerprint="enc_0", objective_description=objective.describe(),
    )  # fmt: skip
    made.save(folder / "batch.h5")


def read_batch(folder: Path) -> object:
    made = StimulusBatch.load(folder / "batch.h5")
    return made.images.tobytes(), made.row_names, made.scores.tobytes()


READERS: Sequence[Reader] = (
    *(
        Reader(name=name, family="weights, encoders, priors, batches", make=make, read=read_weights, refusal=ValueError)
        for name, make in {
            "torch file": torch_file,
            "torch file of old": torch_file_of_old,
            "safetensors": tensors,
        }.items()
    ),
    Reader(
        name="encoder", family="weights, encoders, priors, batches", make=encoder, read=read_encoder, refusal=ValueError
    ),
    Reader(
        name="decoder", family="weights, encoders, priors, batches", make=decoder, read=read_decoder, refusal=ValueError
    ),
    Reader(name="prior", family="weights, encoders, priors, batches", make=prior, read=read_prior, refusal=ValueError),
    Reader(name="batch", family="weights, encoders, priors, batches", make=batch, read=read_batch, refusal=ValueError),
    Reader(name="vectors and words", family="weights, encoders, priors, batches", make=vectors, read=read_vectors),
    Reader(
        name="index of a library",
        family="folders and libraries of pictures",
        make=index,
        read=read_index,
        spared=("*.jpg", "*.zip", "*.tar", "a.png"),
    ),
)
