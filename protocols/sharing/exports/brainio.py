"""Rounds as BrainIO: a stimulus set (CSV and zip), and one assembly per round (netCDF-4)."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.files import sha256_file, write_json
from protocols.disk.foreign import read_bytes
from protocols.disk.tables import write_table
from protocols.packages import version
from protocols.progress import counted
from protocols.project.folder import Project
from protocols.sharing.finished import Recorded
from protocols.sharing.pictures import Photographs, is_photograph
from protocols.sharing.place import EPOCH

from .facts import Facts, subject_of
from .labels import camel
from .trials import refuse_averages

STIMULI = ("stimulus_id", "filename", "degrees", "width_px", "height_px", "round", "role", "source_id", "photograph")
FURTHER = ("licence", "sha256")
RESERVED = frozenset({"neuroid_id", "region", "animal", "neuroid", "presentation", "time_bin"})


def write_brainio(
    folder: Path, project: Project, rounds: Sequence[Recorded], *, facts: Facts, photographs: Photographs
) -> list[str]:
    """Write ``stimulus_NAME.csv``, ``.zip`` and ``assy_NAMERoundNN.nc`` per round; returns notes.

    Raises
    ------
    DataError
        N14: rows are averages.
    """
    base = facts.identifier or f"stimsynth.{camel(project.config.project.name)}"
    for recorded in rounds:
        refuse_averages(recorded.responses, f"{recorded.round_.session_id}/{recorded.name}/responses.h5")
    store = f"stimulus_{base.replace('.', '_')}"
    write_stimuli(folder, store, rounds, photographs=photographs)
    catalogue = [_entry(folder / f"{store}.csv", base, "StimulusSet"), _entry(folder / f"{store}.zip", base, None)]
    subject = subject_of(rounds, facts)
    for recorded in counted(rounds, "rounds as BrainIO"):
        identifier = f"{base}Round{recorded.number:02d}"
        path = folder / f"assy_{identifier.replace('.', '_')}.nc"
        data = assembly(recorded, identifier, stimuli=base, subject=subject)
        compression = {"zlib": True, "complevel": 4}
        data.to_netcdf(path, engine="h5netcdf", encoding={"data": compression})
        catalogue.append(_entry(path, identifier, "NeuronRecordingAssembly") | {"stimulus_set_identifier": base})
    write_json(folder / "catalogue.json", {"made_with": f"stimsynth {version()}", "entries": catalogue})
    if facts.identifier:
        return []
    return [f'the identifier is {base}; give identifier = "lab.NameYear" in facts.toml before it is submitted']


def write_stimuli(folder: Path, store: str, rounds: Sequence[Recorded], *, photographs: Photographs) -> None:
    """The stimulus set: one row per image, its PNG in a flat zip archive under its ``stimulus_id``."""
    rows = []
    with zipfile.ZipFile(folder / f"{store}.zip", "w") as archive:
        for recorded in rounds:
            key, display = {row.image_id: row for row in recorded.key.rows}, recorded.display
            for image in counted(recorded.image_ids, f"images of round {recorded.number}"):
                row, filename = key[image], f"{image}.png"
                archive.writestr(zipfile.ZipInfo(filename, EPOCH), read_bytes(recorded.round_.image_path(image)))
                size = [display.get(name) for name in ("size_deg", "width_px", "height_px")]
                what = [recorded.number, row.role, row.source_id, int(is_photograph(row)), photographs.licence(row)]
                rows.append([image, filename, *size, *what, row.sha256])
    write_table(folder / f"{store}.csv", (*STIMULI, *FURTHER), rows)


def assembly(recorded: Recorded, identifier: str, *, stimuli: str, subject: str) -> Any:
    """One round as an xarray Dataset with the variable ``data`` (presentation, neuroid, time_bin).

    Coordinates of presentation: stimulus_id, repetition, and what is known of block, onset_s and valid; of neuroid:
    neuroid_id, region, animal, and what the rig said; of time_bin: time_bin_start and time_bin_end, in ms.
    """
    import xarray

    responses = recorded.responses
    coords: dict[str, Any] = {
        "stimulus_id": ("presentation", _texts(responses.image_ids)),
        "repetition": ("presentation", repetitions(recorded)),
    }
    for name in ("block", "onset_s"):
        if (column := getattr(responses, name)) is not None:
            coords[name] = ("presentation", column)
    if responses.valid is not None:
        coords["valid"] = ("presentation", responses.valid.astype(np.int8))
    coords |= {name: ("neuroid", values) for name, values in _neuroids(recorded, subject).items()}
    window = responses.window_ms or (np.nan, np.nan)
    coords["time_bin_start"], coords["time_bin_end"] = ("time_bin", [window[0]]), ("time_bin", [window[1]])
    array = xarray.DataArray(
        responses.values[:, :, None],
        dims=("presentation", "neuroid", "time_bin"),
        coords=coords,
        attrs={
            "identifier": identifier,
            "stimulus_set_identifier": stimuli,
            "units": responses.unit,
            "session": recorded.round_.session_id,
            "round": recorded.number,
            "time_bin_units": "ms after image onset",
        },
    )
    return array.to_dataset(name="data")


def repetitions(recorded: Recorded) -> Any:
    """Which presentation of its image each row is, from 0: as recorded, else counted in the order of the rows."""
    if recorded.responses.rep is not None and (recorded.responses.rep >= 0).all():
        return recorded.responses.rep.astype(np.int64)
    seen: Counter[str] = Counter()
    counted = []
    for image in map(str, recorded.responses.image_ids):
        counted.append(seen[image])
        seen[image] += 1
    return np.array(counted, dtype=np.int64)


def _neuroids(recorded: Recorded, subject: str) -> dict[str, Any]:
    responses, said = recorded.responses, recorded.responses.attributes.get("sites", {})
    rows = [said.get(site, {}) for site in responses.site_ids]
    made: dict[str, Any] = {"neuroid_id": _texts(responses.site_ids)}
    made["region"] = _texts([str(row.get("area") or "") for row in rows])
    made["animal"] = _texts([subject] * len(rows))
    for name in sorted({name for row in rows for name in row} - {"area"}):
        values = [row.get(name) for row in rows]
        column = re.sub(r"[^a-z0-9_]", "_", name.lower())
        if column in RESERVED or column in made:
            column = f"site_{column}"
        if any(isinstance(v, str) for v in values):
            made[column] = _texts(["" if v is None else str(v) for v in values])
        else:
            made[column] = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    return made


def _texts(values: Iterable[Any]) -> Any:
    return np.array([str(v) for v in values], dtype=object)


def _entry(path: Path, identifier: str, kind: str | None) -> dict[str, Any]:
    return {"identifier": identifier, "file": path.name, "class": kind, "sha256": sha256_file(path)}
