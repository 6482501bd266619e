"""Kilosort and phy: a folder with the sample of every spike, its cluster, and the labels of the clusters."""

from __future__ import annotations

import ast
import csv
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from protocols.arrays import Floats, Ints
from protocols.disk.foreign import read_text
from protocols.errors import DataError
from protocols.importing.contract import ImportedTable
from protocols.importing.events import Sorted, SpikeOptions, read_events, spike_table, tables_among

from .arrays import load_npy
from .cluster_sites import cluster_sites

UNLABELLED = "unsorted"
_LABEL_FILES = {
    "group": ("cluster_group.tsv", "cluster_group.csv", "cluster_groups.csv", "cluster_info.tsv"),
    "KSLabel": ("cluster_KSLabel.tsv", "cluster_info.tsv"),
}
_TEXT_LIMIT = 10_000_000


class PhyOptions(SpikeOptions):
    """The table ``[phy]`` of map.toml."""

    keep: list[str] = Field(default=["good"], description="[labels] of the clusters that become sites; [] = all")
    labels: Literal["group", "KSLabel"] | None = Field(
        default=None,
        description="labels of a person (group) or of Kilosort (KSLabel); absent: group where there are any",
    )
    sample_rate_hz: float | None = Field(default=None, gt=0, description="[Hz] where params.py does not say it")
    first_spike_sample: Literal[0, 1] = Field(default=0, description="number of the first sample in spike_times.npy")


def read_phy(files: Sequence[Path], options: PhyOptions, /) -> ImportedTable:
    """Counts of the clusters of a Kilosort or phy folder, one row per presentation of the event table.

    Parameters
    ----------
    files : sequence of Path
        The folder, and the event table.
    options : PhyOptions

    Raises
    ------
    DataError
        H14: no such folder, or a file is missing; H15: no sampling rate; H16: arrays that do not fit together; H17: no
        cluster has a label that is kept; H10 to H13: see `events`; H01 to H05: see `protocols.importing.windows`.
    """
    tables, folders = tables_among(files)
    folder = _folder(folders)
    events = read_events(tables, options.events)
    notes: list[str] = []
    rate = options.sample_rate_hz or sample_rate(folder)
    samples, clusters = _spikes(folder, options, notes)
    kept, labels = _kept(folder, np.unique(clusters), options, notes=notes)
    order = np.argsort(clusters, kind="stable")
    bounds = np.searchsorted(clusters[order], np.array([kept, kept + 1]))
    seconds: Floats = (samples[order].astype(np.float64) - options.first_spike_sample) / rate
    notes.insert(0, f"spike_times.npy holds samples at {rate:.9g} Hz, the first is number {options.first_spike_sample}")
    site: dict[str, NDArray[Any]] = {"label": np.array([labels[c] for c in kept.tolist()], dtype=np.str_)}
    spikes = Sorted(
        path=folder,
        trains=[np.sort(seconds[a:b]) for a, b in bounds.T],
        site_id=[f"cluster_{c:04d}" for c in kept.tolist()],
        site=site | cluster_sites(folder, kept, notes, load=load),
        samples_per_s=rate,
        notes=notes,
    )
    return spike_table(spikes, events, options)


def load(path: Path, expected: str) -> NDArray[Any]:
    """An array of the folder (H14)."""
    return load_npy(path, expected=expected, code="H14")


def sample_rate(folder: Path) -> float:
    """The sampling rate in params.py, which is read as text and never run.

    Raises
    ------
    DataError
        H15: no params.py, or sample_rate is not one number there.
    """
    path = folder / "params.py"
    try:
        text = read_text(path, errors="replace", most=_TEXT_LIMIT)
    except OSError:
        raise _no_rate(folder, "no params.py") from None
    found = re.findall(r"^[ \t]*sample_rate[ \t]*=[ \t]*([^#\r\n]+)", text, flags=re.MULTILINE)
    rates = set()
    for right in found:
        try:
            value = ast.literal_eval(right.strip()[:100])
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            raise _no_rate(folder, f"sample_rate = {right.strip()[:60]}") from None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 100 <= value <= 1e6:
            raise _no_rate(folder, f"sample_rate = {right.strip()[:60]}")
        rates.add(float(value))
    if len(rates) != 1:
        raise _no_rate(folder, f"{len(rates)} values of sample_rate in params.py")
    return rates.pop()


def _folder(folders: list[Path]) -> Path:
    if len(folders) == 1 and folders[0].is_dir() and (folders[0] / "spike_times.npy").is_file():
        return folders[0]
    found = ", ".join(f.name for f in folders) or "no folder"
    nested = [f / "kilosort4" for f in folders if (f / "kilosort4" / "spike_times.npy").is_file()]
    raise DataError(
        found,
        found="no spike_times.npy" if len(folders) == 1 else f"{len(folders)} folders",
        expected="one folder of Kilosort or phy, with spike_times.npy and spike_clusters.npy",
        cause="the folder above it was named" if nested else "another folder was named, or several probes at once",
        fix=f"name {nested[0].parent.name}/kilosort4"
        if nested
        else "name the folder with params.py; one probe per import",
        code="H14",
    )


def _spikes(folder: Path, options: PhyOptions, notes: list[str]) -> tuple[Ints, Ints]:
    """Sample and cluster of every spike, (N,) each."""
    samples = _column(load(folder / "spike_times.npy", "the sample of every spike"))
    if samples.dtype.kind not in "iu":
        raise _unfit(
            folder,
            f"spike_times.npy of {samples.dtype}",
            expected="whole numbers: samples",
            cause="another program wrote seconds or milliseconds there",
            fix="write samples as int64 (seconds x sampling rate), or give the spikes in another format",
        )
    name = "spike_clusters.npy"
    if not (folder / name).is_file():
        name = "spike_templates.npy"
        notes.append("there is no spike_clusters.npy: each template was taken as a cluster")
    clusters = _column(load(folder / name, "the cluster of every spike"))
    if clusters.dtype.kind not in "iu" or clusters.shape != samples.shape or not len(samples):
        raise _unfit(
            folder,
            f"{len(samples)} spikes in spike_times.npy and {len(clusters)} of {clusters.dtype} in {name}",
            expected="one whole number per spike in each",
            cause="the files are of two sortings, or one was cut short",
            fix="copy the whole folder again",
        )
    last = int(samples.max())
    if int(samples.min()) < options.first_spike_sample or last >= 2**53:
        raise _unfit(
            folder,
            f"spikes from sample {int(samples.min())} to {last}",
            expected=f"samples of {options.first_spike_sample} or more",
            cause="a difference below 0 in unsigned numbers" if last >= 2**53 else "samples that count from 0",
            fix="sort again"
            if last >= 2**53
            else "leave first_spike_sample out of map.toml, or remove the spikes before 0",
        )
    return np.asarray(samples, dtype=np.int64), np.asarray(clusters, dtype=np.int64)


def _column(array: NDArray[Any]) -> NDArray[Any]:
    """MATLAB's N x 1 is N."""
    return array.reshape(-1) if array.ndim == 2 and 1 in array.shape else array


def _kept(folder: Path, clusters: Ints, options: PhyOptions, *, notes: list[str]) -> tuple[Ints, dict[int, str]]:
    """The clusters whose label is kept, in rising order, and the label of every cluster."""
    labels, source = _labels(folder, options.labels)
    labels = {c: labels.get(c, UNLABELLED) for c in clusters.tolist()}
    counts = ", ".join(f"{n} {label}" for label, n in sorted(Counter(labels.values()).items()))
    if not options.keep:
        notes.append(f"all {len(clusters)} clusters were taken ({counts}, by {source or 'no file of labels'})")
        return clusters, labels
    kept = np.array([c for c in clusters.tolist() if labels[c] in options.keep], dtype=np.int64)
    if not len(kept):
        raise DataError(
            folder.name,
            found=f"no cluster labelled {' or '.join(options.keep)}; there are {counts}"
            if source
            else "no file of labels (cluster_group.tsv, cluster_KSLabel.tsv, cluster_info.tsv)",
            expected="labels of clusters to keep",
            cause="the sorting was not curated, or the labels are written otherwise",
            fix='state keep and labels in [phy] of map.toml, such as keep = ["good", "mua"]; keep = [] takes all',
            code="H17",
        )
    notes.append(f"{len(kept)} of {len(clusters)} clusters are {' or '.join(options.keep)}, by {source} ({counts})")
    return kept, labels


def _labels(folder: Path, wanted: str | None) -> tuple[dict[int, str], str]:
    """Label of each cluster, and the file that says it; the labels of a person before those of Kilosort."""
    for kind in [wanted] if wanted else ["group", "KSLabel"]:
        for name in _LABEL_FILES[kind]:
            path = folder / name
            if path.is_file() and (found := _label_table(path, kind)):
                return found, name
    return {}, ""


def _label_table(path: Path, kind: str) -> dict[int, str]:
    """The labels of a table of two columns or more; {} where it has no such column or no label.

    Kilosort 4 writes its own labels into cluster_group.tsv too, under its own heading.
    """
    try:
        lines = read_text(path, encoding="utf-8-sig", most=_TEXT_LIMIT).splitlines()
        commas = path.suffix == ".csv" and "\t" not in lines[0]
        rows = list(csv.reader(lines, delimiter="," if commas else "\t"))
        header = rows[0]
        names = [kind, "KSLabel"] if path.name.startswith("cluster_group") else [kind]
        column = next((header.index(n) for n in names if n in header), None)
        if column is None:
            return {}
        first = header.index("cluster_id") if "cluster_id" in header else header.index("id")
        return {int(row[first]): row[column].strip() for row in rows[1:] if row and row[column].strip()}
    except (ValueError, IndexError, OSError, csv.Error) as error:
        raise _unfit(
            path,
            f"a table that cannot be read ({error})",
            expected="cluster_id and the label, separated by tabs",
            cause="it was edited in another program",
            fix="write it again as text with tabs, or state labels in [phy] of map.toml",
        ) from error


def _no_rate(folder: Path, found: str) -> DataError:
    return DataError(
        folder.name,
        found=found,
        expected="sample_rate = 30000.0 or the like in params.py",
        cause="the file is not there, or computes the rate; it is read as text and never run",
        fix="state sample_rate_hz in [phy] of map.toml",
        code="H15",
    )


def _unfit(path: Path, found: str, *, expected: str, cause: str, fix: str) -> DataError:
    return DataError(path.name, found=found, expected=expected, cause=cause, fix=fix, code="H16")
