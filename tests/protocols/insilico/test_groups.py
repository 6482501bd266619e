"""Two groups of sites of planted, opposed preferences: every mode finds its pattern, beyond the photographs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from protocols.insilico.controllers import groups as controllers
from protocols.insilico.controllers.groups import beyond, draw, group_means, group_rows
from synth import ascend, exact_statistics, groups, pixels, stretch

SIZE = 16


class Opposed(nn.Module):
    """Sites a0..a2 like bars across and bars along; sites b0..b4 like bars along and dislike bars across."""

    site_ids = ("a0", "b0", "b1", "a1", "b2", "a2", "b3", "b4")
    natural_mean = torch.linspace(-1, 1, 8)
    natural_sd = torch.linspace(0.5, 2, 8)
    fingerprint = ""

    def __init__(self) -> None:
        super().__init__()
        wave = torch.sin(2 * torch.pi * 3 * torch.arange(SIZE) / SIZE)
        self.across, self.along = wave[:, None].expand(SIZE, SIZE), wave[None].expand(SIZE, SIZE)
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        across, along = ((images[:, 0] * p).mean((1, 2)) * 20 for p in (self.across, self.along))
        a, b = across + along, along - across
        z = torch.stack([a if site[0] == "a" else b for site in self.site_ids], 1)
        return self.natural_mean.to(z) + self.natural_sd.to(z) * z


def test_every_mode_finds_the_planted_pattern() -> None:
    encoder, display = Opposed(), exact_statistics((1, SIZE, SIZE), mean=0.5, rms=0.2)
    first, second = [s for s in encoder.site_ids if s[0] == "a"], [s for s in encoder.site_ids if s[0] == "b"]
    batch = ascend(encoder, groups(first, second), pixels((1, SIZE, SIZE)), constraints=[display], transforms=(), steps=40)  # fmt: skip
    shown = torch.from_numpy(batch.images).double()[..., 0] / 255 - 0.5
    patterns = torch.stack([encoder.along, encoder.across, -encoder.across, -encoder.along]).double()
    cosines = (shown * patterns).sum((1, 2)) / shown.flatten(1).norm(dim=1) / patterns.flatten(1).norm(dim=1)
    assert (cosines > 0.9).all(), cosines

    z = (batch.predicted - encoder.natural_mean.numpy()) / encoder.natural_sd.numpy()
    rng = np.random.default_rng(0)
    natural = display.quantise(display(torch.from_numpy(rng.random((200, 1, SIZE, SIZE))).float())).numpy()
    with torch.no_grad():
        seen = encoder(torch.from_numpy(natural).movedim(-1, 1).float() / 255)
    photographs = ((seen - encoder.natural_mean) / encoder.natural_sd).numpy()
    for i, term in group_rows(batch).items():
        wanted = group_means(z[i : i + 1], term, batch.site_ids)
        assert beyond(wanted, group_means(photographs, term, batch.site_ids)).all()
        # an image of another mode is not beyond the range of this one
        others = group_means(np.delete(z, i, 0), term, batch.site_ids)
        assert not beyond(others, group_means(photographs, term, batch.site_ids)).any()


def test_groups_that_begin_alike_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row is named by the first site of each group; two pairs of groups may have the same name."""
    encoder = Opposed()
    monkeypatch.setattr(controllers, "load_pair", lambda *_: (encoder, encoder))
    natural = np.random.default_rng(0).integers(0, 256, (9, SIZE, SIZE, 1)).astype(np.uint8)
    monkeypatch.setattr(
        controllers.NaturalImages, "load", staticmethod(lambda _: SimpleNamespace(pixels=lambda: natural))
    )
    objective = groups(["a0", "a1"], ["b0", "b1"], "high_low") | groups(["a0", "a2"], ["b0", "b4"], "high_low")
    assert len(set(objective.row_names)) == 1
    batch = ascend(encoder, objective, pixels((1, SIZE, SIZE)), transforms=(), steps=1, seeds=(0, 1)).validate(encoder)
    project: Any = SimpleNamespace(newest_fit=lambda: 1, data=None)
    found = controllers.joint_range(project, batch)
    assert [(row["images"], row["second_sites"]) for row in found.rows] == [(2, "b0 b1"), (2, "b0 b4")]


def test_rows_of_other_kinds_are_left_alone() -> None:
    encoder = Opposed()
    objective = stretch(["a0", "a0"]) | groups("a0", "b0", "low_high") + 0.5 * stretch("a1")
    batch = ascend(encoder, objective, pixels((1, SIZE, SIZE)), transforms=(), steps=1)
    assert list(group_rows(batch)) == [2]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 999), count=st.integers(0, 20))
def test_beyond_is_what_no_photograph_reaches(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    made, natural = rng.integers(-3, 4, (6, 2)).astype(float), rng.integers(-3, 4, (count, 2)).astype(float)
    for got, (a, b) in zip(beyond(made, natural), made, strict=True):
        assert got == (a > 0 and b > 0 and not any(x >= a and y >= b for x, y in natural))


@pytest.mark.parametrize("channels", [1, 3])
def test_the_figure_shows_one_panel_per_mode(channels: int) -> None:
    pixels_ = np.zeros((8, 8, channels), dtype=np.uint8)
    plane = {
        "names": ("a0", "b0 and 3 more"),
        "natural": np.zeros((4, 2)),
        "made": [np.ones(2), -np.ones(2)],
        "modes": ["both_high", "both_low"],
        "best": {"both_high": pixels_, "both_low": pixels_},
    }
    figure = draw([plane, plane])
    assert len(figure.axes) == 6
    assert [axis.get_title() for axis in figure.axes[1:3]] == ["both_high", "both_low"]
