"""Making simulated subjects: of recorded V4 sites' compact models, or of EfficientNet-Lite2 features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from protocols.arrays import Floats, Pixels
from protocols.progress import Reporter

from . import lite2 as lite2_sites
from . import v4 as v4_models
from .subject import Noise, Subject, as_seen, calibration, regression

CANDIDATES_PER_SITE = 6
LARGEST_SITE_CORRELATION = 0.75
LARGEST_BLANK = 0.7  # of the natural mean


@dataclass(frozen=True)
class V4Choice:
    """Which sites of a recording a subject is made of.

    Attributes
    ----------
    sites : sequence of int, or None
        Rows of the recording to consider; None: all.
    count : int or None
        Take so many sites, drawn with the subject's seed; None: every one that is good enough.
    minimum_r : float
        Sites whose model correlates less with the recorded averages are left out.
    """

    sites: Sequence[int] | None = None
    count: int | None = None
    minimum_r: float = 0.5


def make_v4_subject(
    folder: str | Path,
    data: str | Path,
    session: str,
    *,
    choice: V4Choice | None = None,
    noise: Noise | None = None,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Path:
    """A subject made of the compact models of recorded V4 sites, calibrated to the recorded counts.

    Parameters
    ----------
    folder : Path
        The subject folder to write; keep it outside the project. The models' parameters are copied into it.
    data : Path
        The folder ``v4_cowley2023``.
    session : str
        "201025" or "210225".
    choice : V4Choice
        Which sites; default: all that are good enough.
    """
    choice = choice or V4Choice()
    sites, count, minimum_r = choice.sites, choice.count, choice.minimum_r
    images, averages = v4_models.read_images(Path(data), session), v4_models.read_averages(Path(data), session)
    states = v4_models.read_models(Path(data), session)
    rest = [
        int(site) for site in np.random.default_rng([seed, 2]).permutation(sorted(states) if sites is None else sites)
    ]
    fits: list[_Fit] = []
    while rest and (count is None or len(fits) < count):
        size = len(rest) if count is None else count - len(fits)
        some, rest = rest[:size], rest[size:]
        fits += [f for f in _fit_sites(images, averages, states, sites=some, progress=progress) if f.r >= minimum_r]
    if not fits or (count is not None and len(fits) < count):
        raise ValueError(f"{len(fits)} sites of {session} have r >= {minimum_r}; expected {count or 'at least one'}")
    fits.sort(key=lambda f: f.site)
    drive, gain, offset = (np.stack([getattr(f, name) for f in fits], -1) for name in ("drive", "gain", "offset"))
    tensors = calibration(images, drive, gain, offset=offset)
    tensors["model_r"] = torch.tensor([f.r for f in fits], dtype=torch.float64)
    for position, fit in enumerate(fits):
        tensors |= {f"site{position:03d}.{name}": tensor for name, tensor in fit.folded.items()}
    subject = Subject(
        kind="v4",
        label=f"compact models of macaque V4 sites, session {session}",
        site_ids=tuple(f"v4_{f.site:03d}" for f in fits),
        image_shape=(v4_models.SIDE_PX, v4_models.SIDE_PX),
        noise=noise or Noise(),
        seed=seed,
        settings={"session": session, "minimum_r": minimum_r},
        tensors=tensors,
    )
    return subject.save(Path(folder))


class _Fit(NamedTuple):
    """A site's folded model with its output on the natural images and the regression of the recorded averages on it."""

    site: int
    folded: dict[str, Tensor]
    drive: Floats
    gain: float
    offset: float
    r: float


def _fit_sites(
    images: Pixels,
    averages: Floats,
    states: dict[int, dict[str, Tensor]],
    *,
    sites: Sequence[int],
    progress: Reporter | None,
) -> list[_Fit]:
    folded = [v4_models.fold(states[site]) for site in sites]
    drive = v4_models.model_responses(images, folded, progress=progress, label=f"calibrating {len(sites)} V4 sites")
    numbers = zip(*regression(drive, averages[:, list(sites)]), strict=True)
    return [
        _Fit(site=site, folded=folded[i], drive=drive[:, i], gain=float(gain), offset=float(offset), r=float(r))
        for i, (site, (gain, offset, r)) in enumerate(zip(sites, numbers, strict=True))
    ]


def make_lite2_subject(
    folder: str | Path,
    images: Pixels,
    *,
    n_sites: int = 12,
    n_noise_sites: int = 2,
    background: int = 128,
    noise: Noise | None = None,
    seed: int = 0,
    progress: Reporter | None = None,
) -> Path:
    """An "easy transfer" subject: sites that pool rectified mixtures of EfficientNet-Lite2 channels over a Gaussian
    receptive field.

    ``drive = sum_xy g(x, y) max(0, sum_c w_c f_c(x, y) - threshold)``, f standardised features of one of two mid
    layers, w sparse. Of many random candidates those are kept whose blank response is low and whose natural responses
    are not near-copies of each other; each is scaled to a natural mean of 3-6 spikes in 100 ms and a natural SD of
    1.5-3. Encoder and subject come from one network family.

    Parameters
    ----------
    folder : Path
        The subject folder to write; keep it outside the project.
    images : uint8 array of shape (N, H, W, C)
        Natural images to calibrate on; their size becomes the subject's.
    n_sites, n_noise_sites : int
        Driven sites, and sites that ignore the image.
    background : int
        Pixel value of the uniform background, the blank.
    """
    generator = np.random.default_rng([seed, 1])
    seen = as_seen(images, images.shape[1:3])
    tensors, drive = lite2_sites.candidates(seen, n_sites * CANDIDATES_PER_SITE, generator, progress=progress)
    blank = np.full((1, *seen.shape[1:]), background, np.uint8)
    at_blank = lite2_sites.drive_of(blank, lite2_sites.LAYERS, tensors)[0]
    mean, sd = generator.uniform(3, 6, drive.shape[1]), generator.uniform(1.5, 3, drive.shape[1])
    gain = sd / drive.std(0)
    offset = mean - gain * drive.mean(0)
    low = np.flatnonzero(gain * at_blank + offset <= LARGEST_BLANK * mean)
    chosen = lite2_sites.choose_diverse(
        drive, low[generator.permutation(len(low))], n_sites, largest=LARGEST_SITE_CORRELATION
    )
    kept = {name: t[chosen] if name in lite2_sites.PER_SITE else t for name, t in tensors.items()}
    flat = np.zeros((len(images), n_noise_sites))
    rates = generator.uniform(3, 6, n_noise_sites)
    kept |= calibration(
        seen,
        np.concatenate([drive[:, chosen], flat], 1),
        np.concatenate([gain[chosen], np.zeros(n_noise_sites)]),
        offset=np.concatenate([offset[chosen], rates]),
    )
    total = n_sites + n_noise_sites
    subject = Subject(
        kind="lite2",
        label="easy transfer: EfficientNet-Lite2 features, the encoder's own network family",
        site_ids=tuple(f"sim_{u:03d}" for u in range(total)),
        image_shape=(images.shape[1], images.shape[2]),
        noise=noise or Noise(),
        seed=seed,
        settings={"layers": list(lite2_sites.LAYERS), "background": background, "noise_sites": n_noise_sites},
        tensors=kept,
    )
    return subject.save(Path(folder))
