"""Simulated subjects: hidden expected responses to images, calibrated to natural ones, and the noise of single trials.

A subject is a folder (``subject.json`` + ``subject.safetensors``) that only the simulated rig and benchmark scripts
open; the rest of the toolkit sees recorded trials alone. Expected counts follow
``saturate(max(0, gain * drive(image) + offset), M)`` with M the site's natural 99.5th percentile (methods.md, H).
"""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.disk.files import read_json, sha256_file, write_json
from protocols.errors import DataError
from protocols.progress import Reporter

from . import lite2 as lite2_sites
from . import v4 as v4_models

SCHEMA = "subject/1"
SATURATION_QUANTILE = 0.995


@dataclass(frozen=True)
class Noise:
    """Trial-to-trial variability.

    Parameters
    ----------
    fano : float
        Variance over mean of a count, given the gains of the trial (negative binomial; 1 = Poisson).
    shared_sd : float
        SD of a gain common to all sites of a trial (log-normal, mean 1).
    drift_sd : float
        SD over the session of a slow sinusoidal gain, a little out of phase between sites.
    round_sd : float
        SD of each site's gain from round to round.
    """

    fano: float = 1.3
    shared_sd: float = 0.1
    drift_sd: float = 0.05
    round_sd: float = 0.03


@dataclass(frozen=True)
class Subject:
    """A loaded subject; `expected` is the truth.

    `image_shape` (H, W) is what the subject's front end takes: other sizes are resized to it, since the subject sees
    the screen and not the pixels (a display of another aspect is refused). Tensors: ``gain``, ``offset``,
    ``saturation`` (U,), ``natural_expected`` (N, U) = noise-free responses to the natural images of the calibration,
    ``natural_sha256`` (N, 32), and the parameters of the drive.
    """

    kind: str
    label: str
    site_ids: tuple[str, ...]
    image_shape: tuple[int, int]
    noise: Noise
    seed: int
    settings: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def natural_expected(self) -> Floats:
        """Noise-free responses to the natural images of the calibration, shape (N, U)."""
        return _floats(self.tensors["natural_expected"])

    @property
    def saturation(self) -> Floats:
        """M of every site, shape (U,): where saturation begins; 2 M is the most that any image can reach."""
        return _floats(self.tensors["saturation"])

    def drive(self, images: Pixels, *, progress: Reporter | None = None) -> Floats:
        """Uncalibrated drive of every site, uint8 (N, H, W, C) -> float64 (N, U)."""
        seen = as_seen(images, self.image_shape)
        if self.kind == "v4":
            sites = [self._group(f"site{u:03d}.") for u in range(len(self.site_ids))]
            return v4_models.model_responses(seen, sites, progress=progress, label="simulated sites")
        drives = lite2_sites.drive_of(seen, self.settings["layers"], self.tensors, progress=progress)
        silent = np.zeros((len(images), len(self.site_ids) - drives.shape[1]))  # the noise sites see nothing
        return np.concatenate([drives, silent], 1)

    def expected(self, images: Pixels, *, progress: Reporter | None = None) -> Floats:
        """Expected counts, uint8 (N, H, W, C) -> float64 (N, U).

        Images of the calibration are recognised by their hash and answered from ``natural_expected``.
        """
        seen = as_seen(images, self.image_shape)
        known = {digest.tobytes(): i for i, digest in enumerate(self.tensors["natural_sha256"].numpy())}
        natural = np.array([known.get(digest.tobytes(), -1) for digest in digests(seen)], dtype=np.int64)
        out = np.empty((len(images), len(self.site_ids)))
        out[natural >= 0] = self.natural_expected[natural[natural >= 0]]
        new = natural < 0
        if new.any():
            out[new] = calibrated(self.drive(seen[new], progress=progress), self.tensors)
        return out

    def save(self, folder: Path) -> Path:
        """Write the subject to a folder that must not exist yet, in one rename."""
        folder = Path(folder)
        if folder.exists():
            raise DataError(
                str(folder),
                found="a folder",
                expected="a new name",
                cause="a subject was made here before",
                fix="load that subject, or choose another folder",
                code="Y02",
            )
        temporary = folder.with_name(f"{folder.name}.tmp-{os.getpid()}")
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        save_file(tensors, temporary / "subject.safetensors")
        record = {k: v for k, v in asdict(self).items() if k != "tensors"}
        digest = sha256_file(temporary / "subject.safetensors")
        write_json(temporary / "subject.json", {"schema": SCHEMA, **record, "sha256": digest})
        os.replace(temporary, folder)
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Subject:
        """Read a subject folder; a file that is missing or altered raises `DataError` Y03."""
        folder = Path(folder)
        if not (folder / "subject.json").is_file() or not (folder / "subject.safetensors").is_file():
            raise _no_subject(folder, "no subject.json with subject.safetensors")
        record = read_json(folder / "subject.json")
        if record.pop("schema", None) != SCHEMA:
            raise _no_subject(folder, "subject.json of another schema")
        if record.pop("sha256") != sha256_file(folder / "subject.safetensors"):
            raise _no_subject(folder, "subject.safetensors with another SHA-256 than subject.json says")
        noise = Noise(**record.pop("noise"))
        sites, shape = tuple(record.pop("site_ids")), tuple(record.pop("image_shape"))
        return cls(
            site_ids=sites,
            image_shape=shape,
            noise=noise,
            tensors=load_file(folder / "subject.safetensors"),
            **record,
        )

    def _group(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def expected_responses(folder: str | Path, images: Pixels, *, progress: Reporter | None = None) -> Floats:
    """The truth, for benchmark scripts only: expected counts of the subject in `folder`, uint8 (N, H, W, C) ->
    (N, U).
    """
    return Subject.load(folder).expected(images, progress=progress)


def saturate(x: Floats, maximum: Floats) -> Floats:
    """``M + M tanh((x - M) / M)`` above `maximum` M, unchanged below; shapes (N, U) and (U,). Smooth at M; 2 M is
    never passed.
    """
    bounded = maximum + maximum * np.tanh((x - maximum) / maximum)
    return np.where(x > maximum, bounded, x)


def calibrated(drive: Floats, tensors: dict[str, Tensor]) -> Floats:
    """Expected counts of drives, (N, U) -> (N, U): linear, rectified at 0, saturating."""
    linear = drive * _floats(tensors["gain"]) + _floats(tensors["offset"])
    return saturate(np.maximum(linear, 0.0), _floats(tensors["saturation"]))


def digests(images: Pixels) -> Pixels:
    """SHA-256 of every image's pixels, uint8 (N, 32)."""
    each = [np.frombuffer(hashlib.sha256(image.tobytes()).digest(), np.uint8) for image in images]
    return np.array(each, dtype=np.uint8).reshape(-1, 32)


def as_seen(images: Pixels, shape: tuple[int, int]) -> Pixels:
    """Images as RGB at the subject's size: grey repeated to three channels, other sizes resized (bilinear,
    antialiased).
    """
    if images.ndim != 4 or images.dtype != np.uint8 or images.shape[-1] not in (1, 3):
        raise ValueError(f"images of shape {images.shape}, {images.dtype}; expected uint8 (N, H, W, C) with C = 1 or 3")
    height, width = images.shape[1:3]
    if height * shape[1] != width * shape[0]:
        raise ValueError(
            f"images of {height} x {width} px; the subject sees a screen of aspect {shape[0]} x {shape[1]}"
        )
    rgb = np.repeat(images, 3, axis=-1) if images.shape[-1] == 1 else images
    if (height, width) == shape:
        return rgb
    channels_first = torch.from_numpy(np.ascontiguousarray(rgb)).permute(0, 3, 1, 2).float()
    resized = F.interpolate(channels_first, size=shape, mode="bilinear", antialias=True, align_corners=False)
    seen: Pixels = resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return seen


def regression(drive: Floats, recorded: Floats) -> tuple[Floats, Floats, Floats]:
    """Least squares of recorded averages on model outputs, site by site, (N, U) each: gain, offset, Pearson r,
    each (U,).
    """
    x, y = drive - drive.mean(0), recorded - recorded.mean(0)
    gain = (x * y).sum(0) / (x**2).sum(0)
    r = (x * y).sum(0) / np.sqrt((x**2).sum(0) * (y**2).sum(0))
    return gain, recorded.mean(0) - gain * drive.mean(0), r


def calibration(images: Pixels, drive: Floats, gain: Floats, *, offset: Floats) -> dict[str, Tensor]:
    """Tensors of a calibration on natural images, drives (N, U): gain, offset, saturation M, natural responses
    and their images.
    """
    rectified = np.maximum(drive * gain + offset, 0.0)
    maximum = np.quantile(rectified, SATURATION_QUANTILE, axis=0)
    tensors = {
        "gain": torch.from_numpy(gain),
        "offset": torch.from_numpy(offset),
        "saturation": torch.from_numpy(maximum),
    }
    tensors["natural_expected"] = torch.from_numpy(calibrated(drive, tensors))
    tensors["natural_sha256"] = torch.from_numpy(digests(images))
    return tensors


def _floats(tensor: Tensor) -> Floats:
    values: Floats = tensor.double().numpy()
    return values


def _no_subject(folder: Path, found: str) -> DataError:
    return DataError(
        str(folder),
        found=found,
        expected="a subject folder as make_lite2_subject or make_v4_subject writes it",
        cause="another folder, or a copy that is not complete",
        fix="make the subject again",
        code="Y03",
    )
