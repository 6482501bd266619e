"""Compact models of recorded macaque V4 sites (Cowley, Stan, Pillow & Smith), in plain torch.

Every site is a small network of its own: a 5x5 convolution, four depthwise-separable convolutions (the first two of
stride 2), each with batch norm and ReLU, and a linear map of the 28 x 28 feature maps to one number. The networks,
images and recorded averages are read from a folder with ``compact_models_f32/``, ``images/`` and
``responses_repeat_averaged/``; nothing of it is part of this package.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.errors import DataError
from protocols.progress import Reporter

CHANNEL_MEAN = (116.222, 109.270, 100.381)
"""Subtracted from the red, green and blue pixel values 0..255."""
SIDE_PX = 112
BATCH_NORM_EPS = 1e-5
BATCH = 4  # images per pass: the first layer's maps stay in the processor's cache


def read_models(data: Path, session: str) -> dict[int, dict[str, Tensor]]:
    """State dict of every modelled site of a recording session; key = row of the response file."""
    path = _existing(data / f"compact_models_f32/compact_models_{session}.pt", data, session)
    states: dict[int, dict[str, Tensor]] = torch.load(path, map_location="cpu", weights_only=True)
    return {int(site): states[site] for site in sorted(states)}


def read_images(data: Path, session: str) -> Pixels:
    """The images of a session, uint8 (N, 112, 112, 3), in the order of the response file."""
    path = _existing(data / f"images/images_{session}.zip", data, session)
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        return np.stack([np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names])


def read_averages(data: Path, session: str) -> Floats:
    """Recorded spike counts per 100 ms bin, averaged over repeats: float64 (N images, sites)."""
    path = _existing(data / f"responses_repeat_averaged/responses_{session}.npy", data, session)
    averages: Floats = np.load(path, allow_pickle=False).T
    return averages


def read_trials(data: Path, session: str) -> tuple[Floats, NDArray[np.int64]]:
    """Single trials (T, sites), NaN = missing, and the image of every trial (T,); recorded for session 210325 only."""
    raw = np.load(_existing(data / f"responses_raw/responses_{session}.npy", data, session), allow_pickle=False)
    sites, n_images, repeats = raw.shape
    return raw.transpose(1, 2, 0).reshape(n_images * repeats, sites), np.repeat(np.arange(n_images), repeats)


def fold(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A site's state dict with batch norm folded into the convolutions: names ``mix{l}.weight``, ``mix{l}.bias``,
    ``depth{l}``, ``beta``.

    ``w' = w g / sqrt(var + eps)``, ``b' = (b - mean) g / sqrt(var + eps) + beta``, per output channel.
    """
    folded: dict[str, Tensor] = {}
    for layer in range(5):
        name = f"layer{layer}_"
        mix = f"{name}conv" if layer == 0 else f"{name}conv_point"
        scale = state[f"{name}bn.weight"] / torch.sqrt(state[f"{name}bn.running_var"] + BATCH_NORM_EPS)
        shift = state[f"{mix}.bias"] - state[f"{name}bn.running_mean"]
        folded[f"mix{layer}.weight"] = (state[f"{mix}.weight"] * scale[:, None, None, None]).contiguous()
        folded[f"mix{layer}.bias"] = shift * scale + state[f"{name}bn.bias"]
        if layer:
            folded[f"depth{layer}"] = state[f"{name}conv_depth.weight"].clone()
    channels = folded["mix4.weight"].shape[0]
    beta = state["Beta.weight"].view(SIDE_PX // 4, SIDE_PX // 4, channels)  # flattened as rows x columns x channels
    folded["beta"] = beta.permute(2, 0, 1).contiguous()
    folded["beta_bias"] = state["Beta.bias"].clone()
    return folded


def site_response(images: Tensor, site: Mapping[str, Tensor]) -> Tensor:
    """Output of one folded site model.

    Parameters
    ----------
    images : Tensor of shape (B, 3, 112, 112)
        Pixel values 0..255 less `CHANNEL_MEAN`.
    site : dict
        From `fold`.

    Returns
    -------
    Tensor of shape (B,)
    """
    x = F.relu_(F.conv2d(images, site["mix0.weight"], site["mix0.bias"], padding=2))
    for layer in range(1, 5):
        depth = site[f"depth{layer}"]
        if layer < 3:
            # Zero-padding by 1 before and 3 behind = by 3 on both sides, less the first output: no padded copy is made.
            x = F.conv2d(x, depth, stride=2, padding=3, groups=depth.shape[0])[:, :, 1:, 1:]
        else:
            x = F.conv2d(x, depth, padding=2, groups=depth.shape[0])
        x = F.relu_(F.conv2d(x, site[f"mix{layer}.weight"], site[f"mix{layer}.bias"]))
    return (x * site["beta"]).sum((1, 2, 3)) + site["beta_bias"]


def model_responses(
    images: Pixels, sites: Sequence[Mapping[str, Tensor]], *, progress: Reporter | None = None, label: str = "V4 models"
) -> Floats:
    """Outputs of folded site models, uncalibrated: uint8 (N, 112, 112, 3) -> float64 (N, U)."""
    if images.shape[1:] != (SIDE_PX, SIDE_PX, 3):
        raise ValueError(f"images of shape {images.shape}; expected (N, {SIDE_PX}, {SIDE_PX}, 3)")
    mean = torch.tensor(CHANNEL_MEAN).view(1, 3, 1, 1)
    out = np.empty((len(images), len(sites)))
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            batch = torch.from_numpy(np.ascontiguousarray(images[start : start + BATCH])).permute(0, 3, 1, 2).float()
            centred = (batch - mean).contiguous(memory_format=torch.channels_last)  # 2 to 3 x faster on a CPU
            for u, site in enumerate(sites):
                out[start : start + len(batch), u] = site_response(centred, site).numpy()
            if progress is not None:
                progress(label, start + len(batch), len(images))
    return out


def _existing(path: Path, data: Path, session: str) -> Path:
    if path.is_file():
        return path
    raise DataError(
        str(data),
        found=f"no {path.relative_to(data).as_posix()}",
        expected=f"the images, averages and compact models of session {session}",
        cause="another folder, or a session without models (those with models: 201025, 210225)",
        fix="give the folder v4_cowley2023 and one of these sessions",
        code="Y01",
    )
