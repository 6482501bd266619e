"""Files of other laboratories' programs, read by the formats of `stimsynth import`."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.importing.contract import write_table
from protocols.importing.formats import FORMATS
from protocols.recordings.readers import read_responses

from .reader import Reader

RATE, SHOWN = 30_000, 24
IMAGES = [f"p{n % 6:02d}.png" for n in range(SHOWN)]
ONSETS = 1.0 + 0.4 * np.arange(SHOWN)
SPIKES = [np.sort(np.random.default_rng(unit).integers(0, int(12 * RATE), 900)) for unit in range(3)]
PICKLED = (
    b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (), }".ljust(127)
    + b"\n\x80\x04cposix\nsystem\n(X\x09\0\0\0touch rantR."
)
"""An array of objects that would run a command where it was opened as such."""
NWB = "tests.protocols.helpers.nwb_files"
BRAINIO = "tests.protocols.helpers.brainio_files"


def events(path: Path, unit: str = "s") -> None:
    """The event table."""
    onsets = ONSETS if unit == "s" else np.rint(ONSETS * RATE).astype(int)
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(
            [
                ["onset", "image", "block"],
                *([o, i, n // 6] for n, (o, i) in enumerate(zip(onsets, IMAGES, strict=True))),
            ]
        )


def _sorted() -> tuple[Any, Any]:
    samples = np.concatenate(SPIKES)
    units = np.repeat(np.arange(3), [len(s) for s in SPIKES])
    order = np.argsort(samples, kind="stable")
    return samples[order], units[order]


def phy(folder: Path) -> None:
    place = folder / "kilosort4"
    place.mkdir()
    samples, units = _sorted()
    np.save(place / "spike_times.npy", samples)
    np.save(place / "spike_clusters.npy", units.astype(np.int32))
    np.save(place / "spike_templates.npy", units.astype(np.int32))
    np.save(place / "templates.npy", np.random.default_rng(0).normal(size=(3, 20, 4)).astype(np.float32))
    np.save(place / "channel_map.npy", np.arange(4))
    np.save(place / "channel_positions.npy", np.arange(8.0).reshape(4, 2))
    (place / "params.py").write_text("dat_path = 'x.bin'\nsample_rate = 30000.0\n")
    (place / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tgood\n1\tgood\n2\tmua\n")
    events(folder / "events.csv")


def spikeinterface(folder: Path) -> None:
    """The layout of numpy_folder."""
    place = folder / "sorted"
    (place / "properties").mkdir(parents=True)
    samples, units = _sorted()
    spikes = np.zeros(len(samples), [("sample_index", "i8"), ("unit_index", "i8"), ("segment_index", "i8")])
    spikes["sample_index"], spikes["unit_index"] = samples, units
    np.save(place / "spikes.npy", spikes)
    np.save(place / "properties" / "quality.npy", np.array(["good", "mua", "good"]))
    info = {"unit_ids": [0, 1, 2], "sampling_frequency": RATE, "num_segments": 1}
    (place / "numpysorting_info.json").write_text(json.dumps(info))
    about = {"class": "spikeinterface.core.sortingfolder.NumpyFolderSorting", "kwargs": {}, "version": "0.102.0"}
    (place / "si_folder.json").write_text(json.dumps(about))
    events(folder / "events.csv", "samples")


def spikeinterface_npz(folder: Path) -> None:
    samples, units = _sorted()
    np.savez(folder / "sorted.npz", unit_ids=np.arange(3), num_segment=np.array([1]), sampling_frequency=np.array([30000.0]),
             spike_indexes_seg0=samples, spike_labels_seg0=units)  # fmt: skip
    events(folder / "events.csv", "samples")


def suite2p(folder: Path) -> None:
    place = folder / "suite2p" / "plane0"
    place.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("F", "Fneu", "spks"):
        np.save(place / f"{name}.npy", rng.gamma(2.0, 50.0, (5, 400)).astype(np.float32))
    np.save(place / "iscell.npy", np.array([[1, 0.9], [0, 0.1], [1, 0.8], [1, 0.7], [1, 0.9]]))
    (place / "ops.npy").write_bytes(PICKLED)
    events(folder / "events.csv")


def bids(folder: Path, ending: str = ".nii.gz") -> None:
    nibabel: Any = importlib.import_module("nibabel")
    betas = np.random.default_rng(0).normal(300, 100, (4, 3, 2, SHOWN)).astype(np.int16)
    mask = np.zeros((4, 3, 2), dtype=np.uint8)
    mask[1:3, 1] = 1
    for name, array in (("betas", betas), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(array, np.diag([2.0, 2, 2, 1])), folder / f"{name}{ending}")
    with (folder / "events.tsv").open("w", encoding="utf-8") as file:
        csv.writer(file, delimiter="\t").writerows([["onset", "stim_file"], *zip(ONSETS, IMAGES, strict=True)])


def bids_plain(folder: Path) -> None:
    bids(folder, ".nii")


def _neo_block() -> Any:
    neo, quantities = importlib.import_module("neo"), importlib.import_module("quantities")
    block, segment = neo.Block(), neo.Segment()
    block.segments.append(segment)
    for unit, samples in enumerate(SPIKES):
        segment.spiketrains.append(neo.SpikeTrain(samples / RATE, units="s", t_stop=12.5, name=f"u{unit}"))
    segment.events.append(neo.Event(ONSETS * quantities.s, labels=np.array(IMAGES), name="images"))
    return block


def neo_matlab(folder: Path) -> None:
    importlib.import_module("neo.io").NeoMatlabIO(str(folder / "day.mat")).write_block(_neo_block())


def neo_nex(folder: Path) -> None:
    helper = importlib.import_module("tests.protocols.importing.formats.test_neo")
    helper.neuroexplorer(folder / "day.nex")


def nwb(folder: Path) -> None:
    importlib.import_module(NWB).nwb_file(folder)


def nwb_pictures(folder: Path) -> None:
    helper = importlib.import_module(NWB)

    def build(file: Any, session: Any) -> None:
        helper.add_units(file, session)
        helper.add_series(file, session, helper.add_images(file, session))

    helper.nwb_file(folder, build)


def brainio(folder: Path) -> None:
    helper = importlib.import_module(BRAINIO)
    helper.packaged(folder / "assembly.nc", helper.array())
    helper.stimulus_set(folder)
    helper.pictures(folder)


SPIKES_IN = {"window_ms": (70.0, 170.0), "events": {"onset_unit": "s"}}
IN_SAMPLES = {**SPIKES_IN, "events": {"onset_unit": "samples"}}
MADE: dict[str, tuple[str, Callable[[Path], None], Sequence[str], Mapping[str, Any]]] = {
    "phy": ("phy", phy, ["kilosort4", "events.csv"], SPIKES_IN),
    "spikeinterface": ("spikeinterface", spikeinterface, ["sorted", "events.csv"], IN_SAMPLES),
    "spikeinterface, npz": ("spikeinterface", spikeinterface_npz, ["sorted.npz", "events.csv"], IN_SAMPLES),
    "suite2p": ("suite2p", suite2p, ["suite2p", "events.csv"],
                {"signal": "spks", "window_ms": (0, 200), "frame_rate_hz": 30, "events": {"onset_unit": "s"}}),
    "NIfTI, packed": ("bids", bids, ["betas.nii.gz", "mask.nii.gz", "events.tsv"], {"mask": "mask.nii.gz", "divide_by": 300}),
    "NIfTI": ("bids", bids_plain, ["betas.nii", "mask.nii", "events.tsv"], {"mask": "mask.nii", "divide_by": 300}),
    "neo, MATLAB": ("neo", neo_matlab, ["day.mat"], {"window_ms": (70.0, 170.0)}),
    "neo, NeuroExplorer": ("neo", neo_nex, ["day.nex"], {"window_ms": (70.0, 170.0)}),
    "NWB": ("nwb", nwb, ["session.nwb"], {"window_ms": (70.0, 170.0), "image_column": "image_id"}),
    "NWB with pictures": ("nwb", nwb_pictures, ["session.nwb"], {"window_ms": (70.0, 170.0)}),
    "BrainIO": ("brainio", brainio, ["assembly.nc", "stimuli.csv", "stimuli.zip"], {"unit": "spikes"}),
}  # fmt: skip


def _reads(format_: str, given: Sequence[str], options: Mapping[str, Any]) -> Callable[[Path], object]:
    def read(folder: Path) -> object:
        row = FORMATS[format_]
        table = row.read([folder / name for name in given], row.options(**options))
        out = folder.parent / "recording.h5"
        write_table(out, table)
        back = read_responses(
            out, names=sorted({str(i) for i in table.image}) if table.image.dtype.kind in "US" else None
        )
        return back.values.tobytes(), back.image_ids.tolist(), back.site_ids, sorted(table.images or ())

    return read


READERS: Sequence[Reader] = [
    Reader(name=name, family="files of other programs", make=make, read=_reads(format_, given, options))
    for name, (format_, make, given, options) in MADE.items()
]
