"""The programs of docs/images.md run as printed, one after the other, in grey and in colour."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
import torch
from torch import nn

PAGE = (Path(__file__).parents[2] / "docs" / "images.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_programs_run_as_printed(channels: int, make_encoder, make_photo) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(8, channels * 28 * 28, generator=generator) / 8
    y, x = torch.linspace(-1, 1, 28)[:, None], torch.linspace(-1, 1, 28)
    with torch.random.fork_rng():
        network = nn.Sequential()
        network.add_module("features", nn.Conv2d(channels, 4, 5))
        network.eval()
    names: dict[str, object] = {
        "encoder": make_encoder(channels=channels),
        "validator": make_encoder(channels=channels, seed=1),
        "photographs": make_photo((2, channels, 28, 28)),
        "fields": torch.stack([torch.exp(-4 * ((y - c) ** 2 + x**2)) for c in (-0.2, 0.2)]).clamp(max=1),
        "shape": (channels, 28, 28),
        "decoder": lambda z: torch.sigmoid(z @ weights).unflatten(1, (channels, 28, 28)),
        "network": network,
    }
    assert len(BLOCKS) == 5
    for block in BLOCKS:
        if "lucent" in block and (importlib.util.find_spec("lucent") is None or channels == 1):
            continue  # lucent's CPPN is in colour
        exec(compile(block, "docs/images.md", "exec"), names)
    for name in ("natural", "generated", "in_the_field", "robust", "started", "batch"):
        batch = names[name]
        assert (batch.scores >= batch.trace[:, 0]).all()  # type: ignore[attr-defined]
        assert (batch.scores > batch.trace[:, 0]).any(), name  # type: ignore[attr-defined]
