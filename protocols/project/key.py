"""The sealed key: what each opaque image of a round is, its predictions, and the sites' natural statistics."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import is_id
from protocols.disk.tables import read_table, write_table
from protocols.errors import DataError

from .objectives import OBJECTIVES

CONTRASTS = ("luminance", "chroma", "local")
NATURAL_SUFFIX = "_natural"  # of the names under which the natural percentiles are kept
ROLES = ("controller", "reference", "natural", "blank", "arm", "graded")


@dataclass(frozen=True)
class KeyRow:
    """One image of a round.

    Attributes
    ----------
    image_id : str
        Opaque name under which the image is shown.
    source_id : str
        Name under which the image was made or imported.
    role : str
        One of `ROLES`: "controller" (synthesised), "reference" (one of the K best natural images of a site, shown
        again; without `reference_for`: a photograph chosen to teach the refit), "natural" (random natural image),
        "blank", "arm" (a control image shown beside a controller), "graded" (an earlier iterate of a controller's own
        ascent, or a photograph changed to a `level`).
    objective : str
        "stretch", "one_hot" or "suppress", of controllers, arms and graded images.
    target : str
        Site id, of controllers, arms and graded images.
    generator : str
        How the image was made.
    seed : int or None
        Seed of the image.
    confirmatory : bool
        Whether this is the one controller per site and objective that was chosen before the responses were known.
    reference_for : tuple of (objective, site)
        The pairs whose natural reference this image may become.
    started_from : str
        Source id of a controller's starting image.
    arm : str
        Kind of control arm that the image serves as; a photograph shown in another role may serve as an arm too.
    parent : str
        Source id of the controller that an arm or graded image belongs to; several, with spaces between, where it
        serves several.
    score, validator_score : float
        Score of the objective by the encoder and by the validator; NaN: none.
    distance : float
        Distance from the fitted images, in medians of what natural images have; NaN: not known.
    outside : bool or None
        Whether `distance` is larger than for 99 % of the natural images; None: not known.
    sha256 : str
        Of the PNG file.
    predicted, predicted_sd, validator_predicted : dict of site id to float
        Responses to the PNG read back from disk, in the encoder's unit; NaN where there is none.
    contrast : dict of name to float
        The image's contrasts (`CONTRASTS`) and their natural 95th percentiles; empty: not measured.
    level : dict of site id to float
        Response that a photograph was changed to evoke, in the encoder's unit; empty: any other image.
    """

    image_id: str
    source_id: str
    role: str
    objective: str = ""
    target: str = ""
    generator: str = ""
    seed: int | None = None
    confirmatory: bool = False
    reference_for: tuple[tuple[str, str], ...] = ()
    started_from: str = ""
    arm: str = ""
    parent: str = ""
    score: float = math.nan
    validator_score: float = math.nan
    distance: float = math.nan
    outside: bool | None = None
    sha256: str = ""
    predicted: dict[str, float] = field(default_factory=dict)
    predicted_sd: dict[str, float] = field(default_factory=dict)
    validator_predicted: dict[str, float] = field(default_factory=dict)
    contrast: dict[str, float] = field(default_factory=dict)
    level: dict[str, float] = field(default_factory=dict)

    @property
    def parents(self) -> tuple[str, ...]:
        """Source ids of the controllers that the image belongs to."""
        return tuple(self.parent.split())


@dataclass(frozen=True)
class SiteRow:
    """A site of the frozen site set: natural mean and SD (over images, of the expected response) in the encoder's
    unit.
    """

    site_id: str
    natural_mean: float
    natural_sd: float
    reliability: float = math.nan
    is_target: bool = False


@dataclass(frozen=True)
class Key:
    """A round's sealed key: `rows` (one per image) and `sites` (the set frozen at export; empty in a baseline)."""

    rows: tuple[KeyRow, ...]
    sites: tuple[SiteRow, ...] = ()

    @property
    def site_ids(self) -> tuple[str, ...]:
        """Ids of the frozen site set."""
        return tuple(s.site_id for s in self.sites)

    def natural_statistics(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Natural mean and SD of the frozen sites, each of shape (U,)."""
        return np.array([s.natural_mean for s in self.sites]), np.array([s.natural_sd for s in self.sites])

    def of_role(self, role: str) -> list[KeyRow]:
        """The rows of one role."""
        return list(self._by_role.get(role, ()))

    @cached_property
    def _by_role(self) -> dict[str, list[KeyRow]]:
        return {role: [r for r in self.rows if r.role == role] for role in {r.role for r in self.rows}}

    def references_for(self, objective: str, site: str) -> list[KeyRow]:
        """The rows of role reference that name this objective and site, in their order."""
        return list(self._by_pair.get((objective, site), ()))

    @cached_property
    def _by_pair(self) -> dict[tuple[str, str], list[KeyRow]]:
        found: dict[tuple[str, str], list[KeyRow]] = {}
        for row in self.of_role("reference"):
            for pair in dict.fromkeys(row.reference_for):
                found.setdefault(pair, []).append(row)
        return found


class Column(NamedTuple):
    """A column of a table: its name, which is also the attribute's, how the value is written, and how it is read
    ("" = left out).
    """

    name: str
    to_text: Callable[[Any], str]
    from_text: Callable[[str], Any]


def _number(value: float) -> str:
    return "" if not math.isfinite(value) else repr(float(value))


def _float(text: str) -> float:
    value = float(text) if text else math.nan
    if math.isinf(value) or "_" in text:
        raise ValueError(f"the number {text!r} is not finite")
    return value


def _whole(text: str) -> int | None:
    """A whole number, which a program for tables may have written as ``12.0``; None where there is none."""
    if not text:
        return None
    if not float(text).is_integer():
        raise ValueError(f"{text!r} is no whole number")
    return int(text) if text.lstrip("+-").isdigit() else int(float(text))


def _image_id(text: str) -> str:
    if not is_id(text):
        raise ValueError(f"image id {text!r} is not of the form a-z, then a-z, 0-9, _")
    return text


def _role(text: str) -> str:
    if text not in ROLES:
        raise ValueError(f"role {text!r}; expected one of {', '.join(ROLES)}")
    return text


def _pairs_text(pairs: Iterable[tuple[str, str]]) -> str:
    return " ".join(f"{objective}:{site}" for objective, site in pairs)


class _NoPair(ValueError):
    """Why an entry of `reference_for` names no objective and site."""


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for entry in re.split(r"[\s,;]+", text.strip()) if text.strip() else ():
        objective, _, site = entry.partition(":")
        if objective not in OBJECTIVES or not site:
            raise _NoPair(entry)
        pairs.append((objective, site))
    return tuple(pairs)


def _flag(value: bool | None) -> str:
    return "" if value is None else str(int(value))


def _from_flag(text: str) -> bool | None:
    """Yes or no, as programs for tables write it; None where nothing stands."""
    known = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False, "": None}
    if text.lower() not in known:
        raise ValueError(f"{text!r} is neither 1 (yes) nor 0 (no)")
    return known[text.lower()]


def _yes(text: str) -> bool:
    return bool(_from_flag(text))


COLUMNS = (
    Column("image_id", str, _image_id),
    Column("source_id", str, str),
    Column("role", str, _role),
    Column("objective", str, str),
    Column("target", str, str),
    Column("generator", str, str),
    Column("seed", lambda seed: "" if seed is None else str(seed), _whole),
    Column("confirmatory", _flag, _yes),
    Column("reference_for", _pairs_text, _pairs),
    Column("started_from", str, str),
    Column("arm", str, str),
    Column("parent", str, str),
    Column("score", _number, _float),
    Column("validator_score", _number, _float),
    Column("distance", _number, _float),
    Column("outside", _flag, _from_flag),
    Column("sha256", str, str),
)
"""The columns of key.csv that every round has."""
_OF_SITES = {"pred": "predicted", "sd": "predicted_sd", "val": "validator_predicted"}
BY_NAME = {"contrast": "contrast", "level": "level", **_OF_SITES}
"""Further columns of key.csv, PREFIX_NAME: the attribute that maps a name (of a contrast, of a site) to a number."""
SITE_COLUMNS = (
    Column("site_id", str, str),
    Column("natural_mean", _number, float),
    Column("natural_sd", _number, float),
    Column("reliability", _number, _float),
    Column("is_target", _flag, _yes),
)
"""The columns of sites.csv."""


def write_key(path: Path, key: Key) -> None:
    """Write `key` as ``key.csv`` and, beside it, ``sites.csv`` (each atomically)."""
    named = {p: sorted({name for row in key.rows for name in getattr(row, p)}) for p in ("contrast", "level")}
    further = [(p, a, name) for p, a in BY_NAME.items() for name in named.get(p, key.site_ids)]
    header = [*(c.name for c in COLUMNS), *(f"{prefix}_{name}" for prefix, _, name in further)]
    rows = [
        [*_cells(COLUMNS, row), *(_number(getattr(row, a).get(name, math.nan)) for _, a, name in further)]
        for row in key.rows
    ]
    write_table(
        path.with_name("sites.csv"), [c.name for c in SITE_COLUMNS], [_cells(SITE_COLUMNS, s) for s in key.sites]
    )
    write_table(path, header, rows)


def _cells(columns: Sequence[Column], row: KeyRow | SiteRow) -> list[str]:
    return [c.to_text(getattr(row, c.name)) for c in columns]


def _values(columns: Sequence[Column], record: Mapping[str, str | None]) -> dict[str, Any]:
    return {c.name: c.from_text((record.get(c.name) or "").strip()) for c in columns}


def read_key(path: str | Path) -> Key:
    """Read a sealed key (``key.csv`` and, where it stands beside it, ``sites.csv``).

    Raises
    ------
    DataError
        K01: a column is missing; K02: a row that cannot be read (role, id, number, yes or no), an image id listed
        twice, or the file is no table; K03: `reference_for` names no objective and site.
    """
    path = Path(path)
    header, records = _table(path)
    _require(path, header, ("image_id", "role"))
    beside = path.with_name("sites.csv")
    sites = read_sites(beside) if beside.is_file() else ()
    rows: list[KeyRow] = []
    seen: set[str] = set()
    named = _named_columns(header)
    for line, record in enumerate(records, start=2):
        try:
            row = KeyRow(**_values(COLUMNS, record), **_by_name(record, named))
        except _NoPair as error:
            raise _no_pair(path, line, str(error)) from error
        except (TypeError, ValueError) as error:
            raise _broken(path, line, str(error)) from error
        if row.image_id in seen:
            raise _broken(path, line, f"image id {row.image_id!r} is listed twice")
        seen.add(row.image_id)
        rows.append(row)
    return Key(tuple(rows), sites)


def _table(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    try:
        return read_table(path)
    except DataError as error:
        raise DataError(
            str(path), found=error.found, expected=error.expected, cause=error.cause, fix=error.fix, code="K02"
        ) from error


def _named_columns(header: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """By attribute of a row that is a mapping: the columns of its entries and their names."""
    return {
        attribute: [(h, h[len(prefix) + 1 :]) for h in header if h.startswith(f"{prefix}_")]
        for prefix, attribute in BY_NAME.items()
    }


def _by_name(record: Mapping[str, str], named: Mapping[str, Sequence[tuple[str, str]]]) -> dict[str, Any]:
    return {
        attribute: {name: _float(text) for column, name in columns if (text := (record[column] or "").strip())}
        for attribute, columns in named.items()
    }


def read_sites(path: str | Path) -> tuple[SiteRow, ...]:
    """Read the frozen site set (``sealed/sites.csv``); it says nothing about the images. Raises as `read_key` does."""
    path = Path(path)
    header, records = _table(path)
    _require(path, header, ("site_id", "natural_mean", "natural_sd"))
    sites = []
    for line, record in enumerate(records, start=2):
        try:
            sites.append(SiteRow(**_values(SITE_COLUMNS, record)))
        except (TypeError, ValueError) as error:
            raise _broken(path, line, str(error)) from error
    return tuple(sites)


def _require(path: Path, header: list[str], needed: Sequence[str]) -> None:
    missing = [c for c in needed if c not in header]
    if missing:
        raise DataError(
            str(path),
            found=f"the columns {', '.join(header[:12]) or 'none'}",
            expected=f"also {', '.join(missing)}",
            cause="another table was given, or a spreadsheet program rewrote the file",
            fix="use the sealed/key.csv that `stimsynth export` wrote",
            code="K01",
        )


def _broken(path: Path, line: int, what: str) -> DataError:
    return DataError(
        str(path),
        found=f"line {line}: {what}",
        expected="a row as `stimsynth export` writes it",
        cause="the table was edited",
        fix="restore sealed/key.csv from a backup",
        code="K02",
    )


def _no_pair(path: Path, line: int, entry: str) -> DataError:
    return DataError(
        str(path),
        found=f"line {line}: {entry!r} in the column reference_for",
        expected=f"OBJECTIVE:SITE, the objective one of {', '.join(OBJECTIVES)}; several with spaces between",
        cause="a key written by hand, with the objective or the site alone",
        fix="write objective and target of the controllers that the image is a reference for, such as stretch:v4_001",
        code="K03",
    )


def exceeded(contrast: Mapping[str, float]) -> tuple[str, ...] | None:
    """The contrasts of an image (as `of_site` gives them) that lie above the natural percentile; None where none
    was measured.
    """
    known = [name for name in CONTRASTS if name in contrast and name + NATURAL_SUFFIX in contrast]
    return tuple(name for name in known if contrast[name] > contrast[name + NATURAL_SUFFIX]) if known else None
