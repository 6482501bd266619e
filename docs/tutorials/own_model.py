"""Bring your own model

Any torch module that takes images to responses can make images here: a model of the retina, a network from a paper, an
encoder that you fitted elsewhere. This page builds a small model of a complex cell of V1, because we know what it should
prefer, asks for its best image, and then fits a module of its own to a recording. Ten minutes to read.
"""

# %%
# ## A module
#
# What is asked of it: it takes images of shape (B, C, H, W) with values in [0, 1] and gives responses (B, number of
# sites). Names in `site_ids` are optional. This one is the energy model (Adelson & Bergen 1985): two Gabor filters, one
# shifted by a quarter of a cycle, their responses squared and added.
import math

import torch
from torch import Tensor, nn


class ComplexCells(nn.Module):
    """Energy of two Gabor filters in quadrature, for three orientations, at the centre of the image."""

    site_ids = ("vertical", "diagonal", "horizontal")

    def __init__(self, side: int = 64, cycles: float = 6.0, width: float = 0.12) -> None:
        super().__init__()
        y, x = torch.meshgrid(torch.linspace(-0.5, 0.5, side), torch.linspace(-0.5, 0.5, side), indexing="ij")
        envelope = torch.exp(-(x**2 + y**2) / (2 * width**2))
        filters = []
        for angle in (0.0, math.pi / 4, math.pi / 2):
            phase = 2 * math.pi * cycles * (x * math.cos(angle) + y * math.sin(angle))
            filters += [envelope * torch.cos(phase), envelope * torch.sin(phase)]
        self.register_buffer("filters", torch.stack(filters) / envelope.sum())

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to responses (B, 3)."""
        contrast = images.mean(1) - 0.5
        drive = torch.einsum("bhw,fhw->bf", contrast, self.filters)
        return 100 * drive.square().reshape(len(images), 3, 2).sum(2)


# %%
# ## Is it fit for this?
#
# `check_encoder` looks for what would waste hours: a module in training mode, one without gradient, one that answers
# differently to the same image, one that expects pixel values up to 255. It says nothing when all is well.
from encoders import check_encoder

cells = ComplexCells().eval()
check_encoder(cells, (1, 64, 64))
print("checked")

# %%
# What it says of a module that is not well:


class Detached(ComplexCells):
    """Loses the gradient on its way."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to responses (B, 3)."""
        return super().forward(images).detach()


class Bytes(ComplexCells):
    """Expects pixel values from 0 to 255."""

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) to responses (B, 3)."""
        return torch.sigmoid(super().forward(images / 255) - 1)


for wrong in (Detached().eval(), Bytes().eval(), ComplexCells().train()):
    try:
        check_encoder(wrong, (1, 64, 64))
    except ValueError as fault:
        print(f"{type(wrong).__name__}: {fault}\n")

# %%
# ## The image that it likes best
#
# `ascend` climbs by gradient. The image always keeps the mean and the contrast that the constraint asks for, so that
# nothing is won by contrast alone. The start is noise.
from synth import ascend, exact_statistics, fourier, one_hot, stretch

shape = (1, 64, 64)
screen = exact_statistics(shape, mean=0.5, rms=0.15)
batch = ascend(cells, stretch(list(cells.site_ids)), fourier(shape), constraints=[screen], seeds=range(2), steps=60)
for name, score in zip(batch.row_names, batch.scores, strict=True):
    print(f"{name:<20} {float(score):.2f}")

# %%
import matplotlib.pyplot as plt

figure, axes = plt.subplots(1, 3, figsize=(6, 2.2), layout="constrained")
best = batch.best_per_target()
for axis, image, name in zip(axes, best.images, cells.site_ids, strict=True):
    axis.imshow(image[..., 0], cmap="gray", vmin=0, vmax=255)
    axis.set_title(name, fontsize=9)
    axis.set_axis_off()
figure.savefig("gabors.png", dpi=160)

# %%
# ![The best image for three orientations: gratings of that orientation in the middle of the image](gabors.png)
#
# Each image is a grating of the orientation, the width and the place of the filters, as theory says. How near is it to the
# best there is? For an energy model that is the filter itself, at any phase, raised until it has the contrast that was
# asked for after it was cut to black and white:
gabor = cells.filters[0] - cells.filters[0].mean()
rivals = [(0.5 + gain * gabor).clamp(0, 1) for gain in torch.logspace(0, 3, 500)]
rival = min(rivals, key=lambda image: abs(float(image.std()) - 0.15))
print(
    f"the filter itself {float(cells(rival[None, None])[0, 0]):.2f}, the image of the ascent {float(best.scores[0]):.2f}"
)

# %%
# ## One site and no other
#
# Objectives are the same for any module, and rows are joined by `|` ([all of them](../objectives.md)). A module that knows
# the mean and the SD of its responses to photographs (`natural_mean`, `natural_sd`) has its scores in natural SDs; this
# one does not, so they are in its own unit.
pair = ascend(
    cells, one_hot(["diagonal"]) | stretch(["diagonal"]), fourier(shape), constraints=[screen], seeds=[0], steps=40
)
with torch.no_grad():
    for name, image in zip(pair.row_names, pair.images, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        answers = ", ".join(f"{site} {value:.2f}" for site, value in zip(cells.site_ids, cells(pixels)[0], strict=True))
        print(f"{name:<18} {answers}")

# %%
# ## A module fitted to a recording
#
# Now a module with a readout per site, fitted to photographs by ridge regression. Its features are energies of the same
# filters, small and large, on a grid of 6 x 6 places. The recording is of a simulated subject; every fifth photograph is
# kept out of the fit.
import numpy as np
from PIL import Image

from encoders import correlation, ridge
from lab import photographs, simulated_counts


class EnergyMap(nn.Module):
    """Energies of three orientations and two scales on a grid, and one linear readout per site."""

    def __init__(self, site_ids: list[str]) -> None:
        super().__init__()
        self.site_ids = tuple(site_ids)
        self.small, self.large = ComplexCells(9, 2.0, 0.2), ComplexCells(17, 2.0, 0.2)
        self.readout = nn.Linear(2 * 3 * 36, len(site_ids))

    def features(self, images: Tensor) -> Tensor:
        """Images (B, C, 64, 64) to features (B, 216)."""
        maps = []
        for cells in (self.small, self.large):
            drive = nn.functional.conv2d(images.mean(1, keepdim=True) - 0.5, cells.filters[:, None], padding="same")
            energy = torch.sqrt(drive.square().unflatten(1, (3, 2)).sum(2) + 1e-6)
            maps.append(nn.functional.adaptive_avg_pool2d(energy, 6).flatten(1))
        return torch.cat(maps, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, C, 64, 64) to responses (B, number of sites)."""
        return self.readout(self.features(images))


names = photographs("photographs", 200)
counts, sites = simulated_counts("photographs", sites=4, repeats=4)
grey = [Image.open(f"photographs/{name}").convert("L").resize((64, 64)) for name in names]
images = torch.from_numpy(np.stack([np.asarray(picture, dtype=np.float32) / 255 for picture in grey]))[:, None]
responses = torch.from_numpy(counts.mean(1)[:, :4]).float()
held_out = torch.arange(len(names)) % 5 == 0

model = EnergyMap(sites[:4]).eval()
with torch.no_grad():
    features = model.features(images)
    fit = ridge(features[~held_out], responses[~held_out], folds=torch.arange(int((~held_out).sum())) % 5)
    model.readout.weight.copy_(fit.coef.T)
    model.readout.bias.copy_(fit.intercept)
    r = correlation(model(images[held_out]), responses[held_out])
for site, value in zip(model.site_ids, r, strict=True):
    print(f"{site}  correlation on held-out photographs {value:.2f}")

# %%
# A model of orientations alone predicts these sites poorly: they are made of richer features. `stimsynth fit` reaches 0.6 to
# 0.9 on a similar recording ([a batch for tomorrow](batch.md)). But the module is a module like any other:
check_encoder(model, shape)
driven = ascend(model, stretch(list(model.site_ids)), fourier(shape), constraints=[screen], steps=40)
for name, score in zip(driven.row_names, driven.scores, strict=True):
    print(f"{name}  {float(score):.1f} spikes predicted")

# %%
# Before you show such an image, ask a second, different model for its opinion: `batch.validate(other_model)`. Images that
# only their own model likes are the usual way in which such experiments fail.
#
# ## Where it can go
#
# - The images are `batch.images`, bytes of shape (image, H, W, C). `batch.save("mine.h5")` keeps them with scores and settings.
# - The rounds of a project are made by encoders that `stimsynth fit` has fitted, since plan and verdict use their held-out
#   scores. Your own network can be the one whose features they read: `backbone` and `weights` in `[encoder]`
#   ([networks](../networks.md)).
#
# ## What next
#
# - [Objectives](../objectives.md), [images and transforms](../images.md), [what a step costs](../speed.md).
# - [Programs of a few lines](../programs.md): what else can be called.
# - [Diffusion](diffusion.md) and [evolution](evolution.md); evolution takes a model without gradient, too.
