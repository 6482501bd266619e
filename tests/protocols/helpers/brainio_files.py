"""Assemblies and stimulus sets, as Brain-Score packages them."""

from __future__ import annotations

import csv
import io
import zipfile

import numpy as np
from PIL import Image

STIMULI, REPEATS, SITES = 6, 4, 5
IDS = [f"hash{i:02d}" for i in range(STIMULI)]
SHOWN = [i for _ in range(REPEATS) for i in IDS]


def array(bins=((70, 170),), *, dtype=np.int16, seed=0, **drop):
    """An assembly with a MultiIndex along presentation, neuroid and time_bin."""
    import xarray as xr

    rng = np.random.default_rng(seed)
    values = rng.poisson(5.0, (len(SHOWN), SITES, len(bins))).astype(dtype)
    coords = {
        "stimulus_id": ("presentation", SHOWN),
        "repetition": ("presentation", np.repeat(np.arange(REPEATS), STIMULI)),
        "object_name": ("presentation", ["face", "car"] * (len(SHOWN) // 2)),
        "neuroid_id": ("neuroid", [f"n_{u}" for u in range(SITES)]),
        "region": ("neuroid", ["V4", "V4", "V4", "IT", "IT"]),
        "animal": ("neuroid", ["Tito"] * SITES),
        "x": ("neuroid", np.arange(SITES) * 0.4),
        "time_bin_start": ("time_bin", [b for b, _ in bins]),
        "time_bin_end": ("time_bin", [e for _, e in bins]),
    }
    coords = {n: c for n, c in coords.items() if n not in drop.get("without", ())}
    return xr.DataArray(values, dims=("presentation", "neuroid", "time_bin"), coords=coords, name="data")


def packaged(path, assembly):
    """As Brain-Score writes: a MultiIndex of all coordinates per dimension, reset before writing."""
    indexed = assembly.set_index(
        presentation=[n for n in ("stimulus_id", "repetition", "object_name") if n in assembly.coords],
        neuroid=[n for n in ("neuroid_id", "region") if n in assembly.coords],
    )
    indexed.reset_index(["presentation", "neuroid"]).to_netcdf(path, engine="h5netcdf")
    return path


def stimulus_set(folder, *, header=("stimulus_id", "filename", "note"), rows=None, names=None):
    names = names or [f"scene_{i}.png" for i in range(STIMULI)]
    with (folder / "stimuli.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows if rows is not None else [(i, n, "x") for i, n in zip(IDS, names, strict=True)])
    return folder / "stimuli.csv"


def pictures(folder, names=None, *, mode="L"):
    pixels = np.random.default_rng(1).integers(0, 256, (STIMULI, 6, 7), dtype=np.uint8)
    names = names or [f"scene_{i}.png" for i in range(STIMULI)]
    with zipfile.ZipFile(folder / "stimuli.zip", "w") as file:
        for name, one in zip(names, pixels, strict=False):
            data = io.BytesIO()
            Image.fromarray(one).convert(mode).save(data, "PNG")
            file.writestr(f"stimuli/{name}", data.getvalue())
    return folder / "stimuli.zip", pixels
