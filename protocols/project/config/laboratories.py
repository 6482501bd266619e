"""Starting points of a project.toml by the kind of laboratory: what differs from the defaults, and what the laboratory
itself must say.

A value that only the laboratory knows is a question: a line ``# TODO`` above its key, which `stimsynth check` repeats
until the line is deleted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from protocols.disk.toml import nearest

from .config import Config

Place = tuple[str, str]
"""Section and key."""
MARK = "TODO"
OTHER_NAMES = {
    "ephys": "electrophysiology",
    "spikes": "electrophysiology",
    "utah": "electrophysiology",
    "neuropixels": "electrophysiology",
    "2p": "two-photon",
    "2-photon": "two-photon",
    "calcium": "two-photon",
    "imaging": "two-photon",
    "mri": "fmri",
    "bold": "fmri",
    "voxels": "fmri",
    "psychophysics": "human",
    "intracranial": "human",
    "ecog": "human",
    "seeg": "human",
}
"""What people call these laboratories, in small letters."""
GIVEN_BY: dict[str, Place] = {"degrees": ("display", "size_deg"), "colour": ("display", "colour")}
"""Options of `stimsynth init` that answer a question."""


@dataclass(frozen=True)
class Laboratory:
    """A starting point for one kind of laboratory.

    Attributes
    ----------
    name : str
        As ``init --template`` calls it.
    about : tuple of str
        What is worth knowing before the first recording; it stands at the head of project.toml.
    changes : dict
        Section to key to value, where it is not the default.
    reasons : dict
        (section, key) to why its value is what it is.
    questions : dict
        (section, key) to what the laboratory must say itself.
    """

    name: str
    about: tuple[str, ...]
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    reasons: Mapping[Place, str] = field(default_factory=dict)
    questions: Mapping[Place, str] = field(default_factory=dict)

    def applied(self, config: Config) -> Config:
        """`config` with the values of this laboratory."""
        sections = {name: getattr(config, name).model_copy(update=dict(keys)) for name, keys in self.changes.items()}
        return config.model_copy(update=sections)

    def without(self, answered: Collection[Place]) -> Laboratory:
        """The same without the questions that were answered already."""
        left = {place: text for place, text in self.questions.items() if place not in answered}
        return replace(self, questions=left)


SCREEN: dict[Place, str] = {
    ("display", "size_deg"): "how wide the image is for the subject, in degrees",
    ("display", "encoding"): 'is the screen linearised? If not: "srgb", or "gamma" with the measured exponent',
    ("display", "colour"): 'the photographs are "grey" or "rgb"',
    ("display", "refresh_hz"): "refresh rate of the screen; durations are then checked to be whole frames",
}
TIMES: dict[Place, str] = {
    ("protocol", "on_ms"): "as in the baseline recording, if there is one",
    ("protocol", "off_ms"): "as in the baseline recording, if there is one",
    ("protocol", "minutes"): "how long a subject works in one session, with pauses; 0 plans 150 presentations for each "
    "target and objective",
}
LOSSES: dict[Place, str] = {
    ("protocol", "expected_loss"): "part of the presentations that broken fixation costs in your laboratory",
    ("protocol", "overhead"): "time for fixation and reward around a presentation, as a part of on_ms + off_ms",
}
SPIKES = Laboratory(
    name="electrophysiology",
    about=(
        "A site is a channel or a sorted unit; responses are spikes in a window, one row per presentation "
        "(docs/responses.md).",
        "Give a site the same site_id on every day. Where a sorter numbers units anew each day, match them first.",
    ),
    reasons={
        ("protocol", "response_window_ms"): "a recording states its own window, and both are compared",
    },
    questions={
        ("project", "species"): "the animal",
        **SCREEN,
        **TIMES,
        ("protocol", "response_window_ms"): "when your area responds, after image onset",
        **LOSSES,
        ("rig", "software"): "what shows the images; [] if your own program reads order.csv",
    },
)
TWO_PHOTON = Laboratory(
    name="two-photon",
    about=(
        "A site is a cell; responses are dff or deconvolved activity averaged over a window (docs/formats/suite2p.md, "
        "docs/formats/nwb.md).",
        "Give a cell the same site_id on every day: numbers of regions of interest change from day to day, so match "
        "the cells first.",
        "A recording of many cells is not a round of many targets: choose targets after the first fit.",
    ),
    changes={
        "project": {"species": "mouse"},
        "synthesis": {"objectives": ("stretch",)},
        "protocol": {"on_ms": 500.0, "off_ms": 500.0, "response_window_ms": (0.0, 500.0)},
    },
    reasons={
        ("synthesis", "objectives"): "one_hot compares a target with all other sites: with 200 sites its verdicts "
        "take a minute, with more longer (docs/scale.md)",
        (
            "protocol",
            "on_ms",
        ): "slower than for spikes, since the indicator outlasts the image; 500 is a value to "
        "begin with, of no publication",
        ("protocol", "response_window_ms"): "the window of the traces, as in the map of the import",
    },
    questions={
        ("project", "species"): "the animal",
        **SCREEN,
        ("synthesis", "targets"): "name the cells to control once the fit has listed them: all takes 150 presentations "
        "for each reliable cell",
        **TIMES,
        ("protocol", "off_ms"): "long enough for your indicator to decay, or take deconvolved activity",
        ("protocol", "response_window_ms"): "when your indicator responds, after image onset",
    },
)
FMRI = Laboratory(
    name="fmri",
    about=(
        "A site is a voxel, or better the mean of a region; responses are the betas of single trials "
        "(docs/formats/nsd.md, docs/formats/bids.md), whose window is that of the model that made them.",
        "Few presentations per hour: choose few targets, and regions before voxels.",
        "Limits on what a human subject is shown are held (docs/safety.md). Passing them is no medical clearance.",
    ),
    changes={
        "project": {"species": "human"},
        "synthesis": {"objectives": ("stretch",)},
        "protocol": {
            "on_ms": 3000.0,
            "off_ms": 1000.0,
            "response_window_ms": (0.0, 4000.0),
            "baseline_repeats": 3,
        },
    },
    reasons={
        ("project", "species"): "with human an export that exceeds a limit of [safety] stops",
        ("synthesis", "objectives"): "one_hot asks for a target without its neighbours, which neighbouring voxels "
        "seldom allow",
        ("protocol", "on_ms"): "3 s on, 1 s off, each photograph 3 times: Natural Scenes Dataset (Allen et al. 2022)",
        ("protocol", "response_window_ms"): "not used with betas, which have no window",
    },
    questions={
        ("project", "species"): "human, or the animal",
        **SCREEN,
        ("synthesis", "targets"): "name the regions or voxels to control once the fit has listed them: all takes 150 "
        "presentations for each reliable one, 10 minutes at 4 s",
        **TIMES,
        ("protocol", "minutes"): "minutes of scanning in one session, with pauses between runs",
        ("protocol", "blocks"): "one block per run is simplest",
        ("protocol", "pause_s"): "pause between two runs",
    },
)
HUMAN = Laboratory(
    name="human",
    about=(
        "A site is an electrode, a unit, or one question that is answered after each image; responses have one row per "
        "presentation (units: docs/responses.md).",
        "Limits on what a human subject is shown are held: an export that exceeds one stops (docs/safety.md).",
        "Passing them is no medical clearance. Screen subjects for photosensitivity, and let an ethics protocol decide "
        "what is shown.",
        "Write no name and no date of birth into this file: it goes into reports.",
    ),
    changes={
        "project": {"species": "human"},
        "protocol": {"on_ms": 200.0, "off_ms": 300.0},
    },
    reasons={
        ("project", "species"): "with human an export that exceeds a limit of [safety] stops",
        ("protocol", "on_ms"): "200 on and 300 off keeps photographs of 8 degrees below three flashes per second; 100 "
        "and 100 does not (docs/safety.md)",
    },
    questions={
        **SCREEN,
        ("display", "max_luminance_cd_m2"): "measured luminance of white; the limits in cd/m2 need it",
        **TIMES,
        ("protocol", "response_window_ms"): "when the electrodes respond, or the time allowed for an answer",
        **LOSSES,
        ("safety", "max_mean_luminance_cd_m2"): "what your ethics protocol allows, if it names a limit",
        ("safety", "max_rms_contrast"): "what your ethics protocol allows, if it names a limit",
        ("rig", "software"): "what shows the images; [] if your own program reads order.csv",
    },
)
LABORATORIES: dict[str, Laboratory] = {lab.name: lab for lab in (SPIKES, TWO_PHOTON, FMRI, HUMAN)}


def laboratory(name: str) -> Laboratory:
    """The starting point of that name.

    Raises
    ------
    ValueError
        An unknown name; the message names the nearest.
    """
    if name in LABORATORIES:
        return LABORATORIES[name]
    plain = name.lower().replace("_", "-").strip()
    near = plain if plain in LABORATORIES else OTHER_NAMES.get(plain) or nearest(plain, [*LABORATORIES, *OTHER_NAMES])
    near = OTHER_NAMES.get(near, near)
    way_out = f"did you mean {near}?" if near else "leave it out, and the file holds the defaults"
    raise ValueError(f"{name!r}; expected one of {', '.join(LABORATORIES)}; {way_out}")


def open_questions(text: str) -> list[Place]:
    """Section and key of every line ``# TODO`` in the text of a project.toml."""
    found: list[Place] = []
    section, asked = "", False
    for line in text.splitlines():
        if head := re.match(r"\[(\w+)\]", line):
            section = head[1]
        elif line.startswith(f"# {MARK}"):
            asked = True
        elif asked and (key := re.match(r"(?:# )?(\w+) =", line)):
            found.append((section, key[1]))
            asked = False
    return found
