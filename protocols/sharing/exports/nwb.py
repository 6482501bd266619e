"""A round as NWB: trials, stimulus images with their index, and responses per trial; one file per round."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from protocols.disk.png import read_png
from protocols.packages import version
from protocols.progress import counted
from protocols.recordings.units import UNITS
from protocols.sharing.finished import Recorded

from .facts import Facts, require, subject_of
from .labels import label, session_label
from .trials import Trials, timed_trials

NEEDED = ("subject", "species", "sex", "age", "session_start")
MODULES = {"spikes": "ecephys", "spikes/s": "ecephys", "dff": "ophys", "deconvolved": "ophys"}
"""Processing module that the responses go into, by their unit; "misc" for all others."""


def write_nwb(folder: Path, rounds: Sequence[Recorded], facts: Facts) -> list[str]:
    """Write ``sub-NAME_ses-SESSION_round-NN.nwb`` per round; returns notes.

    Raises
    ------
    DataError
        N10: a fact is missing; N13, N14: see `timed_trials`; N18: a name gives no label.
    """
    from pynwb import NWBHDF5IO

    require(rounds, facts, NEEDED)
    subject = subject_of(rounds, facts)
    for recorded in counted(rounds, "rounds as NWB"):
        trials = timed_trials(recorded, facts.clock_start_s)
        session = session_label(recorded.round_.session_id)
        name = f"sub-{label(subject, 'subject')}_ses-{session}_round-{recorded.number:02d}.nwb"
        file = as_nwb(recorded, trials, facts, subject=subject)
        with NWBHDF5IO(str(folder / name), "w") as io:
            io.write(file)
    changed = label(subject, "subject") != subject
    return [f"file names have {label(subject, 'subject')} for the subject {subject}"] if changed else []


def as_nwb(recorded: Recorded, trials: Trials, facts: Facts, *, subject: str) -> Any:
    """One round as a `pynwb.NWBFile`."""
    file = nwb_file(recorded, facts, subject=subject)
    add_trials(file, recorded, trials)
    add_stimuli(file, recorded, trials)
    add_responses(file, recorded, trials)
    add_electrodes(file, recorded, facts)
    return file


def nwb_file(recorded: Recorded, facts: Facts, *, subject: str) -> Any:
    """The file with what is known of the session and the animal."""
    from pynwb import NWBFile
    from pynwb.file import Subject

    given = {
        "experimenter": list(facts.experimenter),
        "institution": facts.institution,
        "lab": facts.lab,
        "keywords": list(facts.keywords),
        "experiment_description": facts.description,
    }
    round_ = recorded.round_
    kind = "baseline: photographs" if recorded.number == 0 else f"round {recorded.number}: controllers and photographs"
    return NWBFile(
        session_description=f"Closed-loop stimulus synthesis, {kind}, shown blinded in random order.",
        identifier=f"{round_.session_id}_{recorded.name}_{recorded.manifest['sealed_key_sha256'][:16]}",
        session_start_time=facts.start_of(recorded),
        session_id=f"{round_.session_id}_{recorded.name}",
        source_script=f"stimsynth {version()}, command share",
        source_script_file_name="stimsynth",
        subject=Subject(
            subject_id=subject,
            species=facts.species,
            sex=facts.sex,
            age=facts.age,
            description=f"Subject {subject} of the experiment.",
        ),
        **{name: value for name, value in given.items() if value},
    )


def add_trials(file: Any, recorded: Recorded, trials: Trials) -> None:
    """The table ``trials``, one row per presentation, by time."""
    about = {
        "image_id": "name of the image that was shown; also its name in stimulus/templates",
        "image_index": "position of the image in stimulus/templates/images, from 0",
        "role": "controller (synthesised), reference (photograph shown again), natural, blank, arm or graded",
        "block": "block of the planned order, from 0; -1: unknown",
        "rep": "which presentation of this image in the round, from 0; -1: unknown",
        "valid": "whether the trial was used",
        "row": "row of this trial in the trial table of stimsynth",
    }
    for name, text in about.items():
        file.add_trial_column(name=name, description=text)
    for i in counted(range(len(trials.row)), "trials"):
        start = float(trials.onset_s[i])
        file.add_trial(
            start_time=start,
            stop_time=start + recorded.on_s,
            image_id=str(trials.image_ids[i]),
            image_index=int(trials.image[i]),
            role=trials.role[i],
            block=int(trials.block[i]),
            rep=int(trials.rep[i]),
            valid=bool(trials.valid[i]),
            row=int(trials.row[i]),
        )


def add_stimuli(file: Any, recorded: Recorded, trials: Trials) -> None:
    """The images as shown (``stimulus/templates/images``) and which was shown when (``stimulus/presentation``)."""
    from pynwb.base import ImageReferences, Images
    from pynwb.image import GrayscaleImage, IndexSeries, RGBImage

    rows, made = {r.image_id: r for r in recorded.key.rows}, []
    for image in counted(recorded.image_ids, "images"):
        pixels = read_png(recorded.round_.image_path(image))
        text = f"{rows[image].role}; SHA-256 of its PNG {rows[image].sha256}; axes: rows from the top, columns"
        grey = pixels.shape[2] == 1
        kind = GrayscaleImage if grey else RGBImage
        made.append(kind(name=image, data=pixels[..., 0] if grey else pixels, description=text))
    display = recorded.display
    images = Images(
        name="images",
        images=made,
        description=f"Images as shown, 8 bits, {display.get('width_px')} x {display.get('height_px')} px, "
        f"{display.get('size_deg')} degrees of visual angle wide; pixel values are {display.get('encoding')}.",
        order_of_images=ImageReferences(name="order_of_images", data=made),
    )
    file.add_stimulus_template(images)
    index = IndexSeries(
        name="image_presentations",
        data=trials.image.astype(np.uint32),
        unit="N/A",
        indexed_images=images,
        timestamps=trials.onset_s,
        description="Which image came on, as a position in stimulus/templates/images; one entry per trial.",
    )
    file.add_stimulus(index)


def add_responses(file: Any, recorded: Recorded, trials: Trials) -> None:
    """The tables ``sites`` and ``responses`` of a processing module: one row per site, one row per trial."""
    from hdmf.common import DynamicTable, DynamicTableRegion, VectorData

    unit, window = recorded.responses.unit, recorded.responses.window_ms
    where = "" if window is None else f", from {window[0]:g} ms to {window[1]:g} ms after image onset"
    name = MODULES.get(unit, "misc")
    module = file.create_processing_module(name=name, description=f"Responses per trial in {unit}{where}.")
    module.add(_sites(recorded, unit, window))
    region = DynamicTableRegion(
        name="trial", data=list(range(len(trials.row))), description="row of the table trials", table=file.trials
    )
    values = VectorData(
        name="response",
        data=trials.values,
        description=f"{UNITS[unit].sentence} (unit: {unit}){where}; one column per row of sites; NaN: missing",
    )
    table = DynamicTable(
        name="responses",
        description="One row per trial. There are no spike times: the rig handed over one number per trial and site.",
        columns=[region, values],
    )
    module.add(table)


def _sites(recorded: Recorded, unit: str, window: tuple[float, float] | None) -> Any:
    from hdmf.common import DynamicTable, VectorData

    responses, said = recorded.responses, recorded.responses.attributes.get("sites", {})
    count, further = len(responses.site_ids), sorted({name for row in said.values() for name in row})
    known: dict[str, tuple[str, list[Any]]] = {
        "site_id": ("name of the site, the same over all rounds", list(responses.site_ids)),
        "source_site_id": ("name of the site in the rig's file", list(responses.source_site_ids)),
        "unit": ("unit of its responses", [unit] * count),
    }
    if window is not None:
        known["window_start_ms"] = ("begin of the response window after image onset, in ms", [window[0]] * count)
        known["window_stop_ms"] = ("end of the response window after image onset, in ms", [window[1]] * count)
    for name in further:
        values = [said.get(site, {}).get(name) for site in responses.site_ids]
        text = any(isinstance(v, str) for v in values)
        filled = [("" if v is None else str(v)) if text else float("nan" if v is None else v) for v in values]
        known.setdefault(name, (f"{name}, as the rig said", filled))
    columns = [VectorData(name=n, description=text, data=values) for n, (text, values) in known.items()]
    return DynamicTable(name="sites", description="The recorded sites, one row each.", columns=columns)


def add_electrodes(file: Any, recorded: Recorded, facts: Facts) -> None:
    """The table ``electrodes``, where the facts name the device and the rig said where each site is (``site/area``)."""
    said = recorded.responses.attributes.get("sites", {})
    areas = [str(said.get(site, {}).get("area") or "") for site in recorded.responses.site_ids]
    if not facts.device or not all(areas):
        return
    device = file.create_device(name=facts.device, description=f"{facts.device}, as the facts name it.")
    groups = {
        area: file.create_electrode_group(
            name=f"sites_{i}", description=f"Sites in {area}.", location=area, device=device
        )
        for i, area in enumerate(dict.fromkeys(areas))
    }
    file.add_electrode_column(name="site_id", description="name of the site, as in the table sites")
    for site, area in zip(recorded.responses.site_ids, areas, strict=True):
        file.add_electrode(location=area, group=groups[area], site_id=site)
