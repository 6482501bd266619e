"""A large batch by one command: 100 sites x 5 seeds x 200 steps, with images per second, peak memory and the CPU-GPU difference printed.

Run: ``python scripts/gpu_batch.py [--device cuda] [--encoder FOLDER] [--precision float32 | tf32 | bf16] [--out batch.h5]``.
Without an encoder: 100 random mixtures of EfficientNet-Lite0 features, on weights that come with an installed package. The manifest
beside the batch says device, precision and memory format. On a CPU, small numbers show that it runs: ``--device cpu --sites 2 --steps 4``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor, nn

from encoders import Encoder
from encoders.backbones import backbone
from synth import StimulusBatch, ascend, exact_statistics, fourier, stretch

PRECISIONS = ("float32", "tf32", "bf16")
CHECKED = 32  # images whose predictions are compared between the devices


class Mixtures(nn.Module):
    """Sites that are random mixtures of spatial means of network features, in SDs over noise images."""

    mixing: Tensor

    def __init__(self, sites: int, size: int) -> None:
        super().__init__()
        self.network = backbone("offline:efficientnet_lite0", ["blocks.3.0"])
        generator = torch.Generator().manual_seed(0)
        probe = torch.rand(8, 3, size, size, generator=generator)
        channels = self.network(probe)["blocks.3.0"].shape[1]
        self.register_buffer("mixing", torch.randn(channels, sites, generator=generator))
        self.site_ids = tuple(f"site_{i:04d}" for i in range(sites))
        answers = self(probe).detach()
        self.natural_mean, self.natural_sd = answers.mean(0), answers.std(0)
        self.fingerprint = ""

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U)."""
        pooled: Tensor = self.network(images)["blocks.3.0"].mean((2, 3))
        return pooled @ self.mixing


class Autocast(nn.Module):
    """The same encoder with its products in bfloat16 and its answers in float32."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        for name in ("site_ids", "natural_mean", "natural_sd", "fingerprint"):
            setattr(self, name, getattr(encoder, name))

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, U) or (M, B, U)."""
        with torch.autocast(images.device.type, dtype=torch.bfloat16):
            answers: Tensor = self.encoder(images)
        return answers.float()


def tensor_float(wanted: bool) -> AbstractContextManager[None]:
    """TF32 products within the block, the former setting afterwards."""
    if not wanted:
        return nullcontext()

    class Within:
        def __enter__(self) -> None:
            self.before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
            torch.set_float32_matmul_precision("high")
            torch.backends.cudnn.allow_tf32 = True

        def __exit__(self, *_: object) -> None:
            torch.set_float32_matmul_precision(self.before[0])
            torch.backends.cudnn.allow_tf32 = self.before[1]

    return Within()


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that torch allocated on a CUDA device, or what the process holds on a CPU now."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return int(psutil.Process().memory_info().rss)


def difference(encoder: nn.Module, batch: StimulusBatch, device: torch.device) -> float:
    """Largest difference between the CPU's float32 predictions and those stored, in natural SDs, over the first images."""
    pixels = torch.from_numpy(batch.images[:CHECKED]).permute(0, 3, 1, 2).float() / 255
    cpu = encoder.to("cpu")
    with torch.no_grad():
        answers = cpu(pixels)
    mean = (answers.mean(0) if answers.dim() == 3 else answers).numpy()
    sd: Any = cpu.natural_sd
    encoder.to(device)
    return float(np.abs((mean - batch.predicted[:CHECKED]) / sd.cpu().numpy()).max())


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--encoder", type=Path, help="folder enc_... of a fitted encoder")
    parser.add_argument("--sites", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, default=112, help="side of the image in pixels, without --encoder")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--out", type=Path, help="HDF5 file of the batch; a manifest is written beside it")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        parser.error(
            f"--device {given.device}: torch {torch.__version__} finds no CUDA device here; try --device cpu with small numbers"
        )
    plain: nn.Module = Mixtures(given.sites, given.size) if given.encoder is None else Encoder.load(given.encoder)
    shape = (3, given.size, given.size) if given.encoder is None else plain.image_shape
    plain = plain.to(device)
    encoder = Autocast(plain) if given.precision == "bf16" else plain
    sites: Any = plain.site_ids
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    begun = time.perf_counter()
    with tensor_float(given.precision == "tf32"):
        batch = ascend(
            encoder, stretch(sites[: given.sites]), fourier(shape), constraints=[exact_statistics(shape, mean=0.43, rms=0.2)],  # type: ignore[arg-type]
            seeds=range(given.seeds), steps=given.steps, batch_size=given.batch_size, device=device,
        )  # fmt: skip
    seconds = time.perf_counter() - begun
    manifest = {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "precision": given.precision,
        "memory_format": "channels_last",
        "images": len(batch),
        "seconds": round(seconds, 2),
        "images_per_second": round(len(batch) / seconds, 3),
        "image_steps_per_second": round(len(batch) * given.steps / seconds, 1),
        "peak_memory_mib": round(peak_memory(device) / 2**20),
        "largest_difference_from_cpu_float32_in_natural_sd": difference(plain, batch, device),
        "settings": batch.settings,
        "versions": batch.versions,
    }
    for name in list(manifest)[:-2]:
        print(f"{name:<52}{manifest[name]}")
    if given.out is not None:
        batch.save(given.out)
        given.out.with_suffix(".json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
