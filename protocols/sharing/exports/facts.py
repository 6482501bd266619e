"""What shared formats ask for and a project does not know, of the animal, the day and the laboratory; never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, field_validator

from protocols.disk.toml import invalid_tables, parse_toml
from protocols.errors import DataError
from protocols.sharing.finished import Recorded

AGE = r"P(\d+Y(\d+M)?(\d+W)?(\d+D)?|\d+M(\d+W)?(\d+D)?|\d+W(\d+D)?|\d+D)"
DAYS = {"Y": 365.25, "M": 30.4375, "W": 7.0, "D": 1.0}


class Facts(BaseModel):
    """The table ``[facts]`` of facts.toml; an option of the command stands for a key."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str = Field(
        default="", max_length=100, description="[name] Of the animal; default: that of the responses."
    )
    species: str = Field(
        default="",
        pattern=r"^([A-Z][a-z]+ [a-z]+( [a-z]+)?)?$",
        description='[Latin name] Such as "Macaca mulatta"; the word macaque is no species.',
    )
    sex: Literal["", "M", "F", "O", "U"] = Field(default="", description="[M, F, O(ther) or U(nknown)] Of the animal.")
    age: str = Field(
        default="", pattern=f"^({AGE})?$", description='[ISO 8601 duration] Age on the day: "P8Y", "P90D", "P2Y6M".'
    )
    session_start: AwareDatetime | None = Field(
        default=None,
        description="[ISO 8601 with time zone] When the rig's clock showed clock_start_s, where there was one start.",
    )
    starts: dict[str, AwareDatetime] = Field(
        default_factory=dict,
        description="[ses_DAY or round_NN = time] The same per session, or per round where the clock began anew.",
    )
    clock_start_s: float = Field(
        default=0.0, allow_inf_nan=False, description="[s] What onset_s of the rig was at session_start."
    )
    experimenter: tuple[str, ...] = Field(default=(), description='[names] Each "Family, Given".')
    institution: str = Field(default="", description="[name] Where it was recorded.")
    lab: str = Field(default="", description="[name] Whose laboratory.")
    description: str = Field(default="", description="[sentence] Of the experiment.")
    keywords: tuple[str, ...] = Field(default=(), description="[words] For a search.")
    device: str = Field(
        default="",
        pattern=r"^[^/:]*$",
        description="[name without / and :] What recorded the sites, such as a Utah array.",
    )
    title: str = Field(default="", description="[sentence] Of the data set.")
    authors: tuple[str, ...] = Field(default=(), description='[names] Each "Family, Given".')
    licence: str = Field(default="", description="[SPDX identifier] Of the data, such as CC-BY-4.0.")
    identifier: str = Field(
        default="",
        pattern=r"^([a-z]+\.[A-Z][A-Za-z0-9]+)?$",
        description='[lab.NameYear] Of a BrainIO assembly, such as "mylab.Mueller2026".',
    )

    @field_validator("starts")
    @classmethod
    def _two_digits(cls, starts: dict[str, datetime]) -> dict[str, datetime]:
        """A start that no round has would be passed over in silence."""
        wrong = [name for name in starts if name.startswith("round") and not re.fullmatch(r"round_\d{2,}", name)]
        if wrong:
            raise ValueError(f"{wrong[0]!r}; expected a name with two digits, such as round_01")
        return starts

    def start_of(self, recorded: Recorded) -> datetime | None:
        """When the clock of a round began, None where it is not told."""
        return self.starts.get(recorded.name) or self.starts.get(recorded.round_.session_id) or self.session_start

    def age_in_years(self) -> float | None:
        """The age as a number of years, None where it is not told."""
        parts = re.findall(r"(\d+)([YMWD])", self.age)
        return sum(int(n) * DAYS[unit] for n, unit in parts) / DAYS["Y"] if parts else None


def read_facts(path: Path | None, options: Mapping[str, Any]) -> Facts:
    """The facts of a file, with the options of the command in place of its keys.

    Raises
    ------
    DataError
        N09: the file cannot be read; C01, C02: a key is unknown, or a value wrong.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            tables = parse_toml(path)
        except (OSError, ValueError, RecursionError) as error:
            raise _unreadable(path, "no such file" if isinstance(error, FileNotFoundError) else str(error)) from error
        if set(tables) != {"facts"} or not isinstance(tables["facts"], dict):
            raise _unreadable(path, f"the sections {', '.join(tables) or 'none'}")
        table = tables["facts"]
    table = {**table, **{key: value for key, value in options.items() if value}}
    try:
        return Facts.model_validate(table)
    except ValidationError as error:
        problems = [{**p, "loc": ("facts", *p["loc"])} for p in error.errors()]
        where = str(path) if path is not None else "the options"
        raise invalid_tables(problems, {"facts": table}, {"facts": Facts}, where=where) from error  # type: ignore[arg-type]


def subject_of(rounds: Iterable[Recorded], facts: Facts) -> str:
    """The subject of the exported rounds: as told, else the one that all responses name; "" where none is known."""
    named = {str(r.responses.attributes.get("subject") or "") for r in rounds}
    return facts.subject or (named.pop() if len(named) == 1 else "")


def require(rounds: Iterable[Recorded], facts: Facts, names: Iterable[str]) -> None:
    """Refuse an export that would lack facts.

    Parameters
    ----------
    names : of str
        Of the keys of `Facts` that the format needs; "session_start" for the start of each clock.

    Raises
    ------
    DataError
        N10, with the lines to write.
    """
    rounds, lines = list(rounds), []
    examples = {"species": "Macaca mulatta", "sex": "F", "age": "P8Y"}
    for name in names:
        if name == "subject" and not subject_of(rounds, facts):
            lines.append('subject = "M1"')
        if name in examples and not getattr(facts, name):
            lines.append(f'{name} = "{examples[name]}"')
    if "session_start" in names:
        lines += _starts(rounds, facts)
    if lines:
        raise DataError(
            "the facts",
            found=f"no {', '.join(line.partition(' =')[0] for line in lines)}",
            expected="what the format asks for and the project does not know",
            cause="nothing of it is guessed",
            fix="give --facts facts.toml with lines such as these (true ones) under [facts]: " + "; ".join(lines),
            code="N10",
        )


def _starts(rounds: Sequence[Recorded], facts: Facts) -> list[str]:
    """The lines that are missing for each round to have the start of its own clock."""
    example = '"2026-11-21T09:30:00+01:00"'
    days = {r.round_.session_id for r in rounds}
    general = facts.session_start is not None and len(days) == 1  # one start cannot be that of several days
    without = {
        r.round_.session_id for r in rounds if not (general or {r.name, r.round_.session_id} & set(facts.starts))
    }
    told = [r for r in rounds if r.round_.session_id not in without]
    alike = _overlapping(rounds if len(days) == 1 else told, facts)
    if len(days) == 1 and without and not alike:
        return [f"session_start = {example}"]
    names = alike if len(days) == 1 else [*sorted(without), *alike]
    return [f"starts.{name} = {example}" for name in names]


def _overlapping(rounds: Sequence[Recorded], facts: Facts) -> list[str]:
    """Rounds of one start whose clocks show the same times, so that one start cannot hold for all of them."""
    found: set[str] = set()
    for i, one in enumerate(rounds):
        for other in rounds[:i]:
            if facts.start_of(one) == facts.start_of(other) and _meet(one, other):
                found |= {one.name, other.name}
    return sorted(found)


def _meet(one: Recorded, other: Recorded) -> bool:
    """Whether the times of two rounds overlap."""
    spans = []
    for onset in (one.responses.onset_s, other.responses.onset_s):
        finite = np.empty(0) if onset is None else onset[np.isfinite(onset)]
        if not len(finite):
            return False
        spans.append((finite.min(), finite.max()))
    (a, b), (c, d) = spans
    return bool(a <= d and c <= b)


def _unreadable(path: Path, found: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected="a TOML file with one section [facts]",
        cause="another file was named, or a quote is missing",
        fix='write lines such as species = "Macaca mulatta" under [facts]',
        code="N09",
    )
