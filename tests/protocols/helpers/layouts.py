"""One recording, laid out in many ways: axes in any order, ids of any kind, files of any kind."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image
from scipy import io

from tests.protocols.helpers.matlab73 import savemat73

IMAGES, SITES, REPEATS = 12, 5, 4
NAMES = [f"scene_{n:02d}.png" for n in range(IMAGES)]
SITE_NAMES = [f"v4_{n:02d}" for n in range(1, SITES + 1)]
WINDOW = [70.0, 170.0]


def recording(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Counts (T, U) as uint16 and the image of every presentation (T,), in a shuffled order."""
    rng = np.random.default_rng(seed)
    shown = np.concatenate([rng.permutation(IMAGES) for _ in range(REPEATS)])
    means = rng.uniform(2, 15, (IMAGES, SITES))
    return rng.poisson(means[shown]).astype(np.uint16), shown


def cube(counts: np.ndarray, shown: np.ndarray, *, spare: int = 0) -> np.ndarray:
    """Counts as images x repeats x sites, float, with `spare` repeats of NaN behind."""
    out = np.full((IMAGES, REPEATS + spare, SITES), np.nan)
    for image in range(IMAGES):
        out[image, :REPEATS] = counts[shown == image]
    return out


def write(path: Path, arrays: Mapping[str, Any]) -> Path:
    """Write named arrays into a file of the kind that its ending names; text as each kind writes it."""
    if path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            for name, value in arrays.items():
                array = np.asarray(value)
                text = array.dtype.kind == "U"
                file.create_dataset(
                    name, data=array.tolist() if text else array, dtype=h5py.string_dtype() if text else None
                )
    elif path.suffix == ".npz":
        np.savez(path, **{name: np.asarray(value) for name, value in arrays.items()})
    elif path.name.endswith("73.mat"):
        savemat73(path, {n: list(v) if np.asarray(v).dtype.kind == "U" else v for n, v in arrays.items()})
    elif path.suffix == ".mat":
        io.savemat(
            path, {n: np.array(v, dtype=object) if np.asarray(v).dtype.kind == "U" else v for n, v in arrays.items()}
        )
    elif path.suffix == ".nc":
        import xarray

        found = {n: (tuple(f"{n}_{i}" for i in range(np.ndim(v))), np.asarray(v)) for n, v in arrays.items()}
        xarray.Dataset(found).to_netcdf(path, engine="h5netcdf")
    else:
        raise ValueError(path.name)
    return path


def pictures(folder: Path) -> Path:
    """Twelve pictures that differ, called `NAMES`."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in NAMES:
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(folder / name)
    return folder
