"""A folder of photographs and a recording of them, as a laboratory hands them over, and a project without a baseline."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from protocols.project.display import Display
from protocols.project.folder import Project

DISPLAY = Display(width_px=16, height_px=16, size_deg=4.0, background=128)
NAMES = [f"pic_{i:02d}.png" for i in range(50)]


def pictures(folder: Path, size: int = 16) -> Path:
    """50 small pictures of noise."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).save(folder / name)
    return folder


def write(
    path: Path,
    values: np.ndarray,
    ids: list[str],
    *,
    units: str = "spikes",
    window: tuple[float, float] = (70.0, 170.0),
    attributes: dict[str, object] | None = None,
    transposed: bool = False,
    **columns: np.ndarray,
) -> Path:
    """A responses file; `columns` are written below ``trial/``; transposed: as MATLAB writes it."""
    with h5py.File(path, "w") as file:
        file["responses"] = values.T if transposed else values
        file.create_dataset("image_id", data=list(ids), dtype=h5py.string_dtype())
        file.create_dataset("site_id", data=[f"v4_{u}" for u in range(values.shape[1])], dtype=h5py.string_dtype())
        for name, column in columns.items():
            file[f"trial/{name}"] = column
        file.attrs.update({"units": units, "window_ms": list(window), **(attributes or {})})
    return path


def faithful(repeats: int = 3, sites: int = 5, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Counts of every picture, and the names."""
    rng = np.random.default_rng(seed)
    rates = rng.uniform(1, 9, (len(NAMES), sites))
    shown = np.tile(np.arange(len(NAMES)), repeats)
    return rng.poisson(rates[shown]).astype(float), [NAMES[i] for i in shown]


def empty_project(folder: Path) -> Project:
    return Project.create(folder, name="mine", display=DISPLAY)


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of every file below `folder`."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
