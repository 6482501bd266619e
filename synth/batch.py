"""Synthesised images with their predictions and records, and their file."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from numpy.typing import NDArray

from synth.objectives import Objective

from .answers import Answers, evaluating
from .contract import MICRO_BATCH, Attributes, EncoderLike, attributes_of
from .probe import ask_encoder, probe_images

__all__ = ["StimulusBatch"]


SCHEMA = "stimulus_batch/1"
# field: (dtype of the file, dimensions); S images, U sites, K checks, H, W, C
_PER_IMAGE = {
    "images": ("uint8", "SHWC"),
    "predicted": ("float32", "SU"),
    "predicted_sd": ("float32", "SU"),
    "scores": ("float32", "S"),
    "trace": ("float32", "SK"),
    "seeds": ("int64", "S"),
    "row_names": ("str", "S"),
    "kinds": ("str", "S"),
    "targets": ("str", "S"),
    "start_ids": ("str", "S"),
    "unrounded_predicted": ("float32", "SU"),
    "validator_predicted": ("float32", "SU"),
    "validator_scores": ("float32", "S"),
    "distance": ("float32", "S"),
    "outside": ("bool", "S"),
    "steps": ("int64", "S"),
    "parents": ("int64", "S"),
}
_OPTIONAL = (
    "unrounded_predicted",
    "validator_predicted",
    "validator_scores",
    "distance",
    "outside",
    "steps",
    "parents",
)
_FREE, _RATIO = 64 << 20, 400  # bytes that a dataset may unpack to, and how many times what is stored
_RECORDS = ("encoder_fingerprint", "validator_fingerprint", "objective_description", "settings", "versions")


@dataclass(frozen=True)
class StimulusBatch:
    """S images, the responses predicted TO THESE PIXELS, and how they were made.

    Parameters
    ----------
    images : array of shape (S, H, W, C), uint8
    predicted : array of shape (S, U), float32
        The encoder's answer to `images` / 255, mean over its members, in its unit.
    predicted_sd : array of shape (S, U), float32
        Sample SD over the members; NaN for an encoder of one.
    scores : array of shape (S,), float32
        Each image's own objective, of `images` as they are.
    row_names, kinds, targets : tuples of S str
        The row of the objective that each image was made for.
    seeds : array of shape (S,), int64
    start_ids : tuple of S str
        Names of the images that the ascent started from, "" = noise or unnamed.
    trace : array of shape (S, K), float32
        Score at each check, in the order of ``settings["check_steps"]``; NaN after the image stopped.
    site_ids : tuple of U str
    encoder_fingerprint : str
        Empty where the encoder has none.
    objective_description : dict
        `Objective.describe`, one row per image.
    settings, versions : dict
        All that is needed to repeat the run.
    unrounded_predicted : array of shape (S, U), float32, or None
        The encoder's answer to the images as they were before they were rounded to 8 bits: what the rounding costs.
    validator_predicted, validator_scores, validator_fingerprint
        The same from a second encoder (`validate`), or None.
    distance : array of shape (S,), float32, or None
        Of `images` from the images that the encoder was fitted to, in medians of what those have; None where it does
        not know.
    outside : array of shape (S,), bool, or None
        Outside the training distribution: farther than 99 % of the natural images.
    graded : StimulusBatch, or None
        Earlier iterates of these ascents (``ascend(snapshots=...)``), each with its own predictions and score; it goes
        through `take`, `validate` and `save` with the batch.
    steps, parents : arrays of shape (S,), int64, or None
        Of graded images alone: the step of the ascent, and the position in the batch of the image that the ascent ended
        in.
    """

    images: NDArray[np.uint8]
    predicted: NDArray[np.float32]
    predicted_sd: NDArray[np.float32]
    scores: NDArray[np.float32]
    row_names: tuple[str, ...]
    kinds: tuple[str, ...]
    targets: tuple[str, ...]
    seeds: NDArray[np.int64]
    start_ids: tuple[str, ...]
    trace: NDArray[np.float32]
    site_ids: tuple[str, ...]
    encoder_fingerprint: str
    objective_description: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    unrounded_predicted: NDArray[np.float32] | None = None
    validator_predicted: NDArray[np.float32] | None = None
    validator_scores: NDArray[np.float32] | None = None
    validator_fingerprint: str | None = None
    distance: NDArray[np.float32] | None = None
    outside: NDArray[np.bool_] | None = None
    steps: NDArray[np.int64] | None = None
    parents: NDArray[np.int64] | None = None
    graded: StimulusBatch | None = None

    def __post_init__(self) -> None:
        sizes: dict[str, int] = {"U": len(self.site_ids)}
        for name, (_, dims) in _PER_IMAGE.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            shape = (len(value),) if isinstance(value, tuple) else value.shape
            agree = len(shape) == len(dims) and all(
                sizes.setdefault(d, n) == n for d, n in zip(dims, shape, strict=True)
            )
            if not agree:
                expected = ", ".join(f"{d}={sizes[d]}" if d in sizes else d for d in dims)
                raise ValueError(f"{name} of shape {shape}; expected ({expected})")
        if self.images.dtype != np.uint8:
            raise ValueError(f"images of type {self.images.dtype}; expected uint8")
        if len(self.objective_description["rows"]) != len(self):
            raise ValueError(
                f"objective of {len(self.objective_description['rows'])} rows for {len(self)} images; expected one per "
                "row"
            )
        if self.graded is not None:
            of = self.graded.parents
            if of is None or self.graded.steps is None or not ((of >= 0) & (of < len(self))).all():
                raise ValueError(
                    f"graded images of the parents {None if of is None else of.tolist()}; expected a step and a "
                    f"position from 0 to {len(self) - 1} each"
                )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def objective(self) -> Objective:
        """The objective, one row per image, rebuilt from its description."""
        return Objective.from_description(self.objective_description)

    @property
    def black_or_white(self) -> NDArray[np.float32]:
        """Share of the values (pixels x channels) of each image that are 0 or 255, (S,): much of it is saturated."""
        ends = (self.images == 0) | (self.images == 255)
        shares: NDArray[np.float32] = ends.reshape(len(self), -1).mean(1, dtype=np.float64).astype(np.float32)
        return shares

    def __getitem__(self, index: slice) -> StimulusBatch:
        if not isinstance(index, slice):
            raise TypeError(f"a batch is sliced, not indexed, by {index!r}; use batch[{index}:{index} + 1] or take()")
        return self.take(range(*index.indices(len(self))))

    def take(self, indices: Iterable[int]) -> StimulusBatch:
        """The images `indices`, in that order, with all that belongs to them."""
        chosen = [int(i) for i in indices]
        changes: dict[str, Any] = {}
        for name in _PER_IMAGE:
            value = getattr(self, name)
            if value is not None:
                changes[name] = tuple(value[i] for i in chosen) if isinstance(value, tuple) else value[chosen]
        if self.graded is not None and self.graded.parents is not None:
            pairs = [(g, new) for new, old in enumerate(chosen) for g in np.flatnonzero(self.graded.parents == old)]
            part = self.graded.take(int(g) for g, _ in pairs)
            changes["graded"] = replace(part, parents=np.array([new for _, new in pairs], dtype=np.int64))
        rows = [self.objective_description["rows"][i] for i in chosen]
        return replace(self, **changes, objective_description={**self.objective_description, "rows": rows})

    def validate(self, encoder: EncoderLike) -> StimulusBatch:
        """The batch with the responses and scores that a second encoder predicts for the same pixels.

        Its sites are matched by name; the scores are of the same objective, in the natural SDs of that encoder. It is
        asked first, as `synth.ascend` asks its encoder.

        Raises
        ------
        ValueError
            A validator that lacks sites of the batch, or that cannot serve (training mode, chance, another output).
        """
        own = attributes_of(encoder)
        if len(self):
            height, width, channels = self.images.shape[1:]
            images = probe_images((channels, height, width), own.device)
            encoder = ask_encoder(encoder, images, site_ids=own.site_ids, what="validator").encoder
        return self._validated(encoder, own)

    def _validated(self, encoder: EncoderLike, own: Attributes) -> StimulusBatch:
        """The batch with what an `encoder` that has been asked, of attributes `own`, predicts."""
        answers = [
            self._answers_of(encoder, own, begin, end=min(begin + MICRO_BATCH, len(self)))
            for begin in range(0, len(self), MICRO_BATCH)
        ]
        predicted = np.concatenate([a.mean for a in answers])
        if own.site_ids is not None:
            missing = [s for s in self.site_ids if s not in own.site_ids]
            if missing:
                raise ValueError(f"the validator lacks the sites {', '.join(missing[:5])}; expected all of the batch's")
            predicted = predicted[:, [own.site_ids.index(s) for s in self.site_ids]]
        elif predicted.shape[1] != len(self.site_ids):
            raise ValueError(
                f"the validator gives {predicted.shape[1]} columns without site_ids; expected {len(self.site_ids)}"
            )
        return replace(
            self,
            validator_predicted=predicted,
            validator_scores=np.concatenate([a.scores for a in answers]),
            validator_fingerprint=own.fingerprint,
            graded=None if self.graded is None else self.graded._validated(encoder, own),
        )

    def _answers_of(self, encoder: EncoderLike, own: Attributes, begin: int, *, end: int) -> Answers:
        bound = self.objective[begin:end].bind(own.site_ids or self.site_ids, own.mean, own.sd)
        return evaluating(encoder, bound, torch.from_numpy(self.images[begin:end]).to(own.device))

    def best_per_target(self) -> StimulusBatch:
        """The best image per row of the objective over its seeds, by the validator's score or, without one, its own.

        Of images that were made as a set (`synth.diverse`), the set of the seed with the best mean score.
        """
        return self.take(self.best_indices())

    def best_indices(self) -> list[int]:
        """Positions of the images that `best_per_target` takes."""
        scores = self.scores if self.validator_scores is None else self.validator_scores
        if np.isnan(scores).any():
            index = int(np.isnan(scores).argmax())
            raise ValueError(
                f"the score of image {index} ({self.row_names[index]}) is NaN; expected numbers to compare"
            )
        # rows differ where anything that they ask for differs; a name does not hold every setting
        declared = [
            json.dumps({k: v for k, v in row.items() if k != "group"}, sort_keys=True)
            for row in self.objective_description["rows"]
        ]
        sets: dict[str, list[int]] = {}
        for i, row in enumerate(self.objective.rows):
            sets.setdefault(row.group or f"\n{i}", []).append(i)
        best: dict[tuple[str, ...], list[int]] = {}
        for members in sets.values():
            key = tuple(declared[i] for i in members)
            if key not in best or scores[members].mean() > scores[best[key]].mean():
                best[key] = members
        return [i for members in best.values() for i in members]

    def save(self, path: str | Path) -> Path:
        """Write an HDF5 file, whole or not at all: temporary name, flush to disk, rename."""
        path, packed = Path(path), io.BytesIO()  # HDF5 cannot close a file on a disk that is full
        with h5py.File(packed, "w") as file:
            self._write(file)
        path.parent.mkdir(parents=True, exist_ok=True)
        machine = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]  # its number says nothing elsewhere
        temporary = path.with_name(f".{path.name}.tmp-{machine}-{os.getpid()}")
        try:
            with open(temporary, "wb") as handle:
                handle.write(packed.getbuffer())
                handle.flush()
                os.fsync(handle.fileno())
            os.replace(temporary, path)
            _flush_folder(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink()
        return path

    def _write(self, file: Any) -> None:
        text = h5py.string_dtype("utf-8")
        for name, (kind, _) in _PER_IMAGE.items():
            value = getattr(self, name)
            if value is not None:
                packed = {"compression": "gzip", "shuffle": True} if name == "images" and len(self) else {}
                file.create_dataset(
                    name, data=list(value) if kind == "str" else value, dtype=text if kind == "str" else kind, **packed
                )
        file.create_dataset("site_ids", data=list(self.site_ids), dtype=text)
        file.attrs["schema"] = SCHEMA
        for name in _RECORDS:  # datasets: an attribute holds 64 kB at most
            file.create_dataset(f"records/{name}", data=json.dumps(getattr(self, name)), dtype=text)
        if self.graded is not None:
            self.graded._write(file.create_group("graded"))

    @staticmethod
    def load(path: str | Path) -> StimulusBatch:
        """Read what `save` wrote. A file that is broken or of another kind raises `ValueError` naming what is wrong."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; expected a batch written by StimulusBatch.save")
        try:
            with h5py.File(path, "r") as file:
                return StimulusBatch(**_read(file))
        except (OSError, KeyError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            raise ValueError(
                f"{path} is not a readable stimulus batch: {error}. Likely cause: an incomplete copy, or a file of "
                "another program. Fix: copy it again, or repeat the synthesis"
            ) from error


def _inside(file: Any, name: str) -> Any:
    """A dataset whose numbers lie in the file itself, and are no more than it can hold."""
    group = file
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name!r} is missing, or a link")
        group = group[part]
    if not isinstance(group, h5py.Dataset) or group.is_virtual or group.external or group.shape is None:
        raise ValueError(f"{name!r} holds no numbers or text of its own")
    chunk = math.prod(group.chunks or (0,))
    stored = min(group.id.get_storage_size(), os.path.getsize(group.file.filename))
    if max(math.prod(group.shape), chunk) * group.dtype.itemsize > max(_FREE, _RATIO * stored):
        raise ValueError(f"{name!r} of shape {group.shape}, of which {stored} bytes are stored")
    return group


def _flush_folder(folder: Path) -> None:
    """A rename in `folder` then survives a power cut, where the file system can flush folders."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _read(file: Any) -> dict[str, Any]:
    if file.attrs.get("schema") != SCHEMA:
        stated = str(file.attrs.get("schema"))[:40]
        later = stated.startswith("stimulus_batch/") and stated[15:].isdecimal() and int(stated[15:]) > int(SCHEMA[15:])
        newer = "; a newer version of stimsynth wrote it: install that version" if later else ""
        raise ValueError(f"schema {file.attrs.get('schema')!r} instead of {SCHEMA!r}{newer}")
    values: dict[str, Any] = {name: json.loads(_inside(file, f"records/{name}").asstr()[()]) for name in _RECORDS}
    for name, (kind, _) in {**_PER_IMAGE, "site_ids": ("str", "U")}.items():
        if name not in file:
            if name in _OPTIONAL:
                continue
            raise ValueError(f"the dataset {name!r} is missing")
        data = _inside(file, name)
        values[name] = tuple(data.asstr()[()].tolist()) if kind == "str" else np.asarray(data[()], dtype=kind)
    if "graded" in file:
        values["graded"] = StimulusBatch(**_read(file["graded"]))
    known = {f.name for f in fields(StimulusBatch)}
    return {k: v for k, v in values.items() if k in known}
