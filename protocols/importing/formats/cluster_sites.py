"""Where the clusters of a Kilosort or phy folder lie: the channel on which their template is largest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from protocols.arrays import Ints
from protocols.errors import DataError

Load = Callable[[Path, str], NDArray[Any]]


def cluster_sites(folder: Path, clusters: Ints, notes: list[str], *, load: Load) -> dict[str, NDArray[Any]]:
    """Electrode and position (um) of each cluster, (U,): of the channel where its template is largest.

    A cluster that a person merged has the template of most of its spikes. Nothing where the folder has no templates, or
    where they do not fit together; a note says so.

    Parameters
    ----------
    folder : Path
    clusters : array of shape (U,)
    notes : list of str
    load : callable
        ``load(path, expected)`` gives an array, or raises `DataError`.
    """
    if not (folder / "templates.npy").is_file():
        notes.append("there is no templates.npy: electrodes and positions of the clusters are not known")
        return {}
    try:
        channel = _channels(folder, clusters, load)
        sites: dict[str, NDArray[Any]] = {}
        if (folder / "channel_map.npy").is_file():
            sites["electrode"] = (
                load(folder / "channel_map.npy", "the channel map").reshape(-1)[channel].astype(np.int64)
            )
        if (folder / "channel_positions.npy").is_file():
            where = load(folder / "channel_positions.npy", "the positions of the channels")[channel].astype(np.float64)
            sites |= {"x_um": where[:, 0].copy(), "y_um": where[:, 1].copy()}
    except (IndexError, ValueError, DataError) as error:
        notes.append(f"electrodes and positions of the clusters are not known: {str(error).splitlines()[0][:120]}")
        return {}
    notes.append("electrode and position of a cluster are those of the channel where its template is largest")
    return sites


def _channels(folder: Path, clusters: Ints, load: Load) -> Ints:
    templates = load(folder / "templates.npy", "templates x times x channels")
    if templates.ndim != 3:
        raise ValueError(f"templates.npy has the shape {templates.shape}")
    size = np.ptp(templates, axis=1)  # (template, channel)
    largest = size.argmax(axis=1).astype(np.int64)
    for name in ("templates_ind.npy", "template_ind.npy"):
        if (folder / name).is_file():
            listed = load(folder / name, "channels of each template")
            if listed.shape != size.shape:
                raise ValueError(f"{name} has the shape {listed.shape}")
            largest = listed[np.arange(len(largest)), largest].astype(np.int64)
    owners = _templates_of(folder, clusters, load)
    if owners.min() < 0 or owners.max() >= len(largest) or largest[owners].min() < 0:
        raise ValueError(f"clusters name templates that are not among the {len(largest)} of templates.npy")
    return np.asarray(largest[owners], dtype=np.int64)


def _templates_of(folder: Path, clusters: Ints, load: Load) -> Ints:
    """The template of most spikes of each cluster, (U,)."""
    paths = folder / "spike_clusters.npy", folder / "spike_templates.npy"
    if not all(path.is_file() for path in paths):
        return clusters
    of_cluster, of_template = (load(p, "one number per spike").reshape(-1).astype(np.int64) for p in paths)
    pairs, counts = np.unique(np.stack([of_cluster, of_template]), axis=1, return_counts=True)
    order = np.argsort(counts, kind="stable")
    most = {int(c): int(t) for c, t in pairs[:, order].T}
    return np.array([most[c] for c in clusters.tolist()], dtype=np.int64)
