"""The folders and records of an evolution on the rig, ``round_NN/evolution/``: what has been done is read from them.

``plan.json`` is written first and ``evolution.json`` last. Between them stands one folder per generation,
``generation_001`` on, each with the outbox, the inbox and the sealed key of a round; a generation is done when its
``scores.json`` is there. The last one shows the candidates for the round again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.files import inside, read_json, sha256_file
from protocols.disk.png import read_png
from protocols.errors import DataError
from protocols.project.folder import Project, Round
from protocols.project.objectives import ObjectiveName

PATTERN = re.compile(r"generation_(\d{3,})", re.ASCII)
PLAN, RECORD, SCORES = "evolution_plan/1", "evolution/1", "evolution_scores/1"
"""Schemas of ``plan.json``, ``evolution.json`` and ``scores.json``."""
OBJECTIVE: ObjectiveName = "stretch"
"""What images are evolved for."""
EVOLVED_NAME = "evo_"
"""What the source id of an evolved image begins with."""
EVOLVED, AGAIN = "evolution", "evolution again"
"""Generator of an image in the sealed key: evolved, or shown again at the end of its evolution."""


def evolved_name(number: int, generation: int, target: str, *, place: str) -> str:
    """Source id of an evolved image: its round, its generation, its target, and its place there."""
    return f"{EVOLVED_NAME}r{number:02d}_g{generation:03d}_{target}_{place}"


def evolved_target(name: str) -> str:
    """The target in a source id that `evolved_name` wrote."""
    return name.removeprefix(EVOLVED_NAME).split("_", 2)[2].rpartition("_")[0]


@dataclass(frozen=True)
class Generation(Round):
    """One exchange with the rig within an evolution; all else reads it as a round.

    Attributes
    ----------
    generation : int
        From 1 within the round.
    """

    generation: int = 1

    @property
    def home(self) -> Path:
        """The project folder."""
        return self.folder.parents[4]

    @property
    def place(self) -> str:
        """The folder, for messages."""
        return f"{self.session_id}/round_{self.number:02d}/evolution/{self.folder.name}"

    @property
    def prefix(self) -> str:
        """What the names of its images begin with."""
        return f"r{self.number:02d}g{self.generation:03d}"

    @property
    def entropy(self) -> tuple[int, ...]:
        """What sets its draws apart from those of other rounds and generations."""
        return (self.number, 1000 + self.generation)

    @property
    def limits(self) -> str:
        """The section of project.toml whose ``max_unseen`` holds for its answer."""
        return "evolution"

    @property
    def proposed_path(self) -> Path:
        """The images as PNG by their source ids, while they wait to be looked at before the export."""
        return self.folder / "proposed"

    def proposed(self) -> dict[str, Path]:
        """Those images by source id, in their order; empty where none wait."""
        if self.outbox.is_dir() or not self.proposed_path.is_dir():
            return {}
        return {path.stem: path for path in sorted(self.proposed_path.glob("*.png"))}

    @property
    def scores_path(self) -> Path:
        """What the optimisers were told; its presence means that the generation is done."""
        return self.folder / "scores.json"

    @property
    def scored(self) -> bool:
        """Whether the generation is done."""
        return self.scores_path.is_file()


@dataclass(frozen=True)
class Evolution:
    """The evolution of a round, as files."""

    round: Round

    @property
    def folder(self) -> Path:
        """Where all of it lies."""
        return self.round.folder / "evolution"

    @property
    def plan_path(self) -> Path:
        """Settings, targets, references and starts: written first, never changed."""
        return self.folder / "plan.json"

    @property
    def starts_path(self) -> Path:
        """The codes that the optimisers start from."""
        return self.folder / "starts.npy"

    @property
    def record_path(self) -> Path:
        """What was reached, and which images enter the round; written last."""
        return self.folder / "evolution.json"

    @property
    def done(self) -> bool:
        """Whether the evolution is finished."""
        return self.record_path.is_file()

    def generation(self, number: int) -> Generation:
        """Generation `number`, whether its folder exists or not."""
        folder = self.folder / f"generation_{number:03d}"
        return Generation(folder, self.round.number, self.round.session_id, number)

    def generations(self) -> list[Generation]:
        """The generations whose folders exist, in their order."""
        found = (PATTERN.fullmatch(p.name) for p in self.folder.glob("generation_*") if p.is_dir())
        return [self.generation(n) for n in sorted(int(match[1]) for match in found if match is not None)]

    def open_generation(self) -> Generation | None:
        """The generation that was exported and is not scored; None where there is none."""
        here = [g for g in self.generations() if g.outbox.is_dir() and not g.scored]
        return here[0] if here else None

    def proposed(self) -> Generation | None:
        """The generation whose images are made and wait to be looked at before its export; None where there is none."""
        here = [] if self.done else [g for g in self.generations() if g.proposed()]
        return here[0] if here else None

    def scored(self) -> int:
        """How many generations are done, the one that shows the candidates again among them."""
        count = 0
        while self.generation(count + 1).scored:
            count += 1
        return count


def read_record(path: Path, schema: str) -> dict[str, Any]:
    """One of the records of an evolution.

    Raises
    ------
    DataError
        O01: it cannot be read, or is of another schema.
    """
    record = read_json(path)
    if isinstance(record, dict) and record.get("schema") == schema:
        return record
    raise DataError(
        f"{path.parent.name}/{path.name}",
        found="a record that cannot be read",
        expected=f"schema {schema}, as `stimsynth evolve` writes it",
        cause="the file was edited, or is of another version",
        fix="restore it from a backup",
        code="O01",
    )


def evolution_before(project: Project, number: int) -> Evolution | None:
    """The newest finished evolution of round `number` or of an earlier one; None where there is none."""
    done = [e for r in project.rounds() if r.number <= number and (e := Evolution(r)).done]
    return done[-1] if done else None


@dataclass(frozen=True)
class Evolved:
    """An evolved image that enters a round.

    `score`: of its last trials in the evolution, in natural SDs above the references; `started_from`: the photograph
    that its evolution began with, "" for noise.
    """

    target: str
    source_id: str
    pixels: Pixels
    score: float
    started_from: str


def evolved_images(project: Project, number: int) -> dict[str, Evolved]:
    """The image of each target that evolution chose for round `number`; empty where nothing was evolved.

    Raises
    ------
    DataError
        O01: the record cannot be read; O02: an image is missing or altered.
    """
    found = evolution_before(project, number)
    if found is None:
        return {}
    record = read_record(found.record_path, RECORD)
    return {target: _evolved(found, target, entry) for target, entry in record["chosen"].items()}


def _evolved(evolution: Evolution, target: str, entry: Mapping[str, Any]) -> Evolved:
    path = inside(evolution.folder, entry["filename"])
    if not path.is_file() or sha256_file(path) != entry["sha256"]:
        raise DataError(
            f"round_{evolution.round.number:02d}/evolution/{entry['filename']}",
            found="another image than the one chosen" if path.is_file() else "no such file",
            expected="the file whose SHA-256 stands in evolution.json",
            cause="it was resaved by another program, or the folder was copied only in part",
            fix="restore it from a backup",
            code="O02",
        )
    return Evolved(
        target=target,
        source_id=entry["source_id"],
        pixels=read_png(path),
        score=float(entry["score"]),
        started_from=entry["started_from"],
    )
