"""The sealed key: what each opaque image of a round is, what was predicted for it, and the sites' natural statistics."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from protocols.disk.files import is_id, write_text
from protocols.errors import DataError

CONTRASTS = ("luminance", "chroma", "local")
NATURAL_SUFFIX = "_natural"  # of the names under which the natural percentiles are kept
ROLES = ("controller", "reference", "natural", "blank", "arm", "graded")
COLUMNS = (
    "image_id",
    "source_id",
    "role",
    "objective",
    "target",
    "generator",
    "seed",
    "confirmatory",
    "reference_for",
    "started_from",
    "arm",
    "parent",
    "score",
    "validator_score",
    "distance",
    "outside",
    "sha256",
)
SITE_COLUMNS = ("site_id", "natural_mean", "natural_sd", "reliability", "is_target")


@dataclass(frozen=True)
class KeyRow:
    """One image of a round.

    `role` is one of `ROLES`: controller (synthesised), reference (one of the K best natural images of a site, re-shown; without
    `reference_for`: a photograph chosen to teach the refit), natural (random natural image), blank, arm (a control image shown beside a controller), graded (an earlier iterate of a controller's own
    ascent). `objective` ("stretch" | "one_hot") and `target` (a site id) belong to controllers, arms and graded images. `arm` is the
    kind of control arm that the image serves as, and `parent` the source id of the controller that an arm or graded image belongs to
    (several, separated by spaces, where it serves several); a photograph shown in another role may serve as an arm too.
    `reference_for` lists the (objective, site) pairs whose natural reference this image may become. `confirmatory` marks the one
    controller a site and objective that was chosen before unblinding; `started_from` is the source id of a controller's starting image. `predicted`, `predicted_sd`, `validator_predicted` map site
    ids to responses in the encoder's unit (NaN where there is none); they belong to the PNG read back from disk, as do `distance` from
    the fitted images, in medians of what natural images have, and `outside`: farther than 99 % of them (None = unknown). `contrast`
    maps the names of `protocols.rounds.contrast` to the image's contrasts and to their natural 95th percentiles; empty = not measured.
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

    @property
    def parents(self) -> tuple[str, ...]:
        """Source ids of the controllers that the image belongs to."""
        return tuple(self.parent.split())


@dataclass(frozen=True)
class SiteRow:
    """A site of the frozen site set: natural mean and SD (over images, of the expected response) in the encoder's unit."""

    site_id: str
    natural_mean: float
    natural_sd: float
    reliability: float = math.nan
    is_target: bool = False


@dataclass(frozen=True)
class Key:
    """A round's sealed key: `rows` (one an image) and `sites` (the site set frozen at export; empty in a baseline round)."""

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
        return [r for r in self.rows if r.role == role]


def _number(value: float) -> str:
    return "" if not math.isfinite(value) else repr(float(value))


def write_key(path: Path, key: Key) -> None:
    """Write `key` as ``key.csv`` and, beside it, ``sites.csv`` (each atomically)."""
    prefixes = {"pred": "predicted", "sd": "predicted_sd", "val": "validator_predicted"}
    sites, contrasts = key.site_ids, sorted({name for row in key.rows for name in row.contrast})
    buffer = io.StringIO()
    table = csv.writer(buffer, lineterminator="\n")
    table.writerow([*COLUMNS, *(f"contrast_{c}" for c in contrasts), *(f"{p}_{s}" for p in prefixes for s in sites)])
    for row in key.rows:
        fixed = [
            row.image_id,
            row.source_id,
            row.role,
            row.objective,
            row.target,
            row.generator,
            "" if row.seed is None else row.seed,
            int(row.confirmatory),
            " ".join(f"{o}:{s}" for o, s in row.reference_for),
            row.started_from,
            row.arm,
            row.parent,
            _number(row.score),
            _number(row.validator_score),
            _number(row.distance),
            "" if row.outside is None else int(row.outside),
            row.sha256,
            *(_number(row.contrast.get(name, math.nan)) for name in contrasts),
        ]
        table.writerow([*fixed, *(_number(getattr(row, a).get(s, math.nan)) for a in prefixes.values() for s in sites)])
    buffer_sites = io.StringIO()
    table = csv.writer(buffer_sites, lineterminator="\n")
    table.writerow(SITE_COLUMNS)
    for site in key.sites:
        table.writerow(
            [
                site.site_id,
                _number(site.natural_mean),
                _number(site.natural_sd),
                _number(site.reliability),
                int(site.is_target),
            ]
        )
    write_text(path.with_name("sites.csv"), buffer_sites.getvalue())
    write_text(path, buffer.getvalue())


def _float(text: str | None) -> float:
    return float(text) if text else math.nan


def read_key(path: str | Path) -> Key:
    """Read a sealed key (``key.csv`` and, where it stands beside it, ``sites.csv``).

    Raises
    ------
    DataError
        K01: a column is missing; K02: a row that cannot be read (role, id, number) or an image id listed twice.
    """
    path = Path(path)
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        header = list(reader.fieldnames or ())
        records = list(reader)
    _require(path, header, ("image_id", "role"))
    beside = path.with_name("sites.csv")
    sites = read_sites(beside) if beside.is_file() else ()
    rows: list[KeyRow] = []
    seen: set[str] = set()
    for line, r in enumerate(records, start=2):
        try:
            row = _row(r, header)
        except (KeyError, TypeError, ValueError) as error:
            raise _broken(path, line, str(error)) from error
        if row.image_id in seen:
            raise _broken(path, line, f"image id {row.image_id!r} is listed twice")
        seen.add(row.image_id)
        rows.append(row)
    return Key(tuple(rows), sites)


def read_sites(path: str | Path) -> tuple[SiteRow, ...]:
    """Read the frozen site set (``sealed/sites.csv``); it tells nothing about the images. Raises as `read_key` does."""
    path = Path(path)
    sites = []
    with open(path, newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        _require(path, list(reader.fieldnames or ()), SITE_COLUMNS[:3])
        for line, r in enumerate(reader, start=2):
            try:
                statistics = float(r["natural_mean"]), float(r["natural_sd"]), _float(r.get("reliability"))
                sites.append(SiteRow(r["site_id"], *statistics, (r.get("is_target") or "0") == "1"))
            except (TypeError, ValueError) as error:
                raise _broken(path, line, str(error)) from error
    return tuple(sites)


def _row(r: dict[str, str], header: list[str]) -> KeyRow:
    if not is_id(r["image_id"]):
        raise ValueError(f"image id {r['image_id']!r} is not of the form a-z, then a-z, 0-9, _")
    if r["role"] not in ROLES:
        raise ValueError(f"role {r['role']!r}; expected one of {', '.join(ROLES)}")
    pairs = [p.partition(":") for p in (r.get("reference_for") or "").split()]
    by_prefix = {
        p: {h[len(p) + 1 :]: _float(r[h]) for h in header if h.startswith(f"{p}_") and r[h]}
        for p in ("pred", "sd", "val", "contrast")
    }
    return KeyRow(
        image_id=r["image_id"],
        source_id=r.get("source_id") or "",
        role=r["role"],
        objective=r.get("objective") or "",
        target=r.get("target") or "",
        generator=r.get("generator") or "",
        seed=int(r["seed"]) if r.get("seed") else None,
        confirmatory=(r.get("confirmatory") or "0") == "1",
        reference_for=tuple((o, s) for o, _, s in pairs),
        started_from=r.get("started_from") or "",
        arm=r.get("arm") or "",
        parent=r.get("parent") or "",
        score=_float(r.get("score")),
        validator_score=_float(r.get("validator_score")),
        distance=_float(r.get("distance")),
        outside=None if not r.get("outside") else r["outside"] == "1",
        sha256=r.get("sha256") or "",
        predicted=by_prefix["pred"],
        predicted_sd=by_prefix["sd"],
        validator_predicted=by_prefix["val"],
        contrast=by_prefix["contrast"],
    )


def _require(path: Path, header: list[str], needed: tuple[str, ...]) -> None:
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


def exceeded(contrast: Mapping[str, float]) -> tuple[str, ...] | None:
    """The contrasts of an image (as `of_site` gives them) that lie above the natural percentile; None where none was measured."""
    known = [name for name in CONTRASTS if name in contrast and name + NATURAL_SUFFIX in contrast]
    return tuple(name for name in known if contrast[name] > contrast[name + NATURAL_SUFFIX]) if known else None
