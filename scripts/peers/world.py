"""What the rows about control share: a hidden subject, photographs and noisy recordings of it, the encoder and validator fitted to them.

The subject is made of compact models of recorded V4 sites where their folder is given, else it is the package's own simulated
subject, of the encoder's network family. Its truth is read by the rows alone, never by a fit or an ascent.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from encoders import FitOptions, FittedPair, Recording, fit_encoder
from protocols.arrays import Floats, Pixels
from protocols.project.photograph_import import demo_photographs
from protocols.simulate import v4
from protocols.simulate.make import make_lite2_subject
from protocols.simulate.rig import simulate_counts
from protocols.simulate.subject import Noise, Subject, calibration, regression
from protocols.stats.trials import margins
from synth import exact_statistics
from synth.constraints.exact import ExactStatistics

SESSION, MINIMUM_R = "201025", 0.5


@dataclass(frozen=True)
class Sizes:
    """How large the comparison is."""

    size: int = 112
    photographs: int = 500
    population: int = 24
    targets: int = 16
    repeats: int = 8
    readout: str = "factorised"
    seed: int = 0


@dataclass(frozen=True)
class World:
    """A subject, what was recorded of it, and what was fitted to that."""

    subject: Subject
    images: Pixels
    measured: Floats
    pair: FittedPair
    targets: tuple[str, ...]
    display: ExactStatistics

    @property
    def columns(self) -> list[int]:
        """The targets among the subject's sites."""
        return [self.subject.site_ids.index(t) for t in self.targets]

    def best_photographs(self) -> Tensor:
        """For every target the photograph with the highest measured response, as a round starts from it, (T, 3, H, W)."""
        return as_tensor(self.images[self.measured[:, self.columns].argmax(0)])

    def shown(self, images: Tensor) -> Pixels:
        """Images as the display shows them: projected to its mean and RMS contrast, in 8 bits."""
        with torch.no_grad():
            pixels: Pixels = self.display.quantise(self.display(images.float())).numpy()
        return pixels

    def validator_scores(self, pixels: Pixels) -> Floats:
        """What an encoder that no image was made with expects of image i at target i, natural SDs, (T,)."""
        validator: Any = self.pair.validator
        with torch.no_grad():
            responses = validator(as_tensor(pixels))
        responses = responses.mean(0) if responses.dim() == 3 else responses
        z = (responses - validator.natural_mean) / validator.natural_sd
        at = [list(validator.site_ids).index(t) for t in self.targets]
        found: Floats = z[range(len(at)), at].double().numpy()
        return found

    def truth(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """True response / M and true margin (natural SDs) of image i at target i, each (T,)."""
        expected, natural = self.subject.expected(pixels), self.subject.natural_expected
        own = np.arange(len(pixels))
        z = (expected - natural.mean(0)) / natural.std(0)
        return expected[own, self.columns] / self.subject.saturation[self.columns], margins(z)[own, self.columns]

    @property
    def about(self) -> str:
        """For the page."""
        kind = (
            f"models of recorded V4 sites, {SESSION}"
            if self.subject.kind == "v4"
            else "the package's own simulated subject"
        )
        return f"{kind}: {len(self.targets)} targets of {len(self.subject.site_ids)} sites"


def as_tensor(pixels: Pixels) -> Tensor:
    """uint8 (N, H, W, C) -> (N, C, H, W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def make(sizes: Sizes, data: Path | None) -> World:
    """Simulate the recordings of the subject and fit to them; about two minutes at the default sizes."""
    random = np.random.default_rng(sizes.seed)
    if data is None:
        images = own_photographs(sizes.photographs, sizes.size)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "subject"
            make_lite2_subject(path, images, n_sites=sizes.population, n_noise_sites=0, seed=sizes.seed)
            subject = Subject.load(path)
    else:
        images = v4.read_images(data, SESSION)[: sizes.photographs]
        subject = v4_subject(images, data, sizes, random)
    measured = means_of_trials(subject, images, sizes.repeats, random)
    names = list(subject.site_ids)
    recording = Recording(
        pixels=images,
        values=measured,
        image_index=np.arange(len(images)),
        site_ids=names,
        unit="spikes",
        field_of_view_deg=8.0,
        background=128,
        colour="rgb",
        averages=True,
        repeats=np.full(len(images), sizes.repeats),
    )
    pair = fit_encoder(recording, FitOptions(readout=sizes.readout, reliability_fit=0.0))
    fitted = [s for s in pair.encoder.site_ids if s in pair.validator.site_ids]
    drawn = random.permutation(len(fitted))[: sizes.targets]
    light = exact_statistics((3, sizes.size, sizes.size)).statistics(as_tensor(images))
    display = exact_statistics(
        (3, sizes.size, sizes.size), mean=float(light["mean"].median()), rms=float(light["rms"].median())
    )
    return World(subject, images, measured, pair, tuple(fitted[i] for i in sorted(drawn)), display)


def own_photographs(count: int, size: int) -> Pixels:
    """The package's photographs: uint8 (N, size, size, 3)."""
    opened = (Image.open(io.BytesIO(p.data)).convert("RGB").resize((size, size)) for p in demo_photographs()[:count])
    return np.stack([np.asarray(image) for image in opened])


def v4_subject(images: Pixels, data: Path, sizes: Sizes, random: np.random.Generator) -> Subject:
    """So many sites whose compact model goes with the recorded averages at r >= 0.5, calibrated on `images`."""
    averages, states = v4.read_averages(data, SESSION)[: len(images)], v4.read_models(data, SESSION)
    kept: list[tuple[int, dict[str, Tensor], Floats, Floats]] = []
    for site in random.permutation(sorted(states)):
        if len(kept) == sizes.population:
            break
        folded = v4.fold(states[int(site)])
        drive = v4.model_responses(images, [folded])
        gain, offset, r = (float(x[0]) for x in regression(drive, averages[:, [site]]))
        if r >= MINIMUM_R:
            kept.append((int(site), folded, drive[:, 0], np.array([gain, offset])))
    kept.sort(key=lambda k: k[0])
    drive, line = np.stack([k[2] for k in kept], 1), np.stack([k[3] for k in kept], 1)
    tensors = calibration(images, drive, line[0], offset=line[1])
    for position, (_, folded, _, _) in enumerate(kept):
        tensors |= {f"site{position:03d}.{name}": tensor for name, tensor in folded.items()}
    names = tuple(f"v4_{k[0]:03d}" for k in kept)
    shape = (v4.SIDE_PX, v4.SIDE_PX)
    return Subject(
        kind="v4",
        label="compact models",
        site_ids=names,
        image_shape=shape,
        noise=Noise(),
        seed=sizes.seed,
        settings={},
        tensors=tensors,
    )


def means_of_trials(subject: Subject, images: Pixels, repeats: int, random: np.random.Generator) -> Floats:
    """Means of simulated counts over repeats, shown in a random order, (N, U)."""
    shown = np.concatenate([random.permutation(len(images)) for _ in range(repeats)])
    onsets = 0.2 * np.arange(len(shown), dtype=np.float64)
    counts = simulate_counts(subject.expected(images)[shown], onsets, subject.noise, generator=random)
    total = np.zeros((len(images), counts.shape[1]))
    np.add.at(total, shown, counts)
    return total / repeats
