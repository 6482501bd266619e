"""What an experimenter wants of the sites, as a TOML file: any objective of `synth`'s catalogue.

    kappa = 0.5                              # caution: score = mean - kappa * SD over the encoder's members

    [[objective]]                            # one image (or more) each
    kind = "one_hot"
    sites = ["v4_012", "v4_047"]
    temperature = 1.0

    [[objective]]
    kind = "pattern"
    wanted = { v4_012 = 2.0, v4_047 = -1.0 } # in natural SDs from the natural mean

    [[objective]]
    kind = "pattern"
    fractions = { v4_012 = 0.9, v4_047 = 0.1 }  # of each site's natural range over photographs:
                                                # 0 = 1st, 1 = 99th percentile

    [[objective]]                            # four images: both high, high-low, low-high, both low
    kind = "groups"
    first = ["v4_*"]                         # all sites that begin so
    second = ["it_003", "it_007"]

    [[objective]]
    kind = "stretch"
    sites = ["v4_012"]
    plus = [{ kind = "within", sites = ["v4_047"], low = -1.0, high = 1.0, weight = 2.0 }]   # added to it

The keys of an entry are the arguments of the factory of that name in `synth` (`stimsynth generate --kinds` lists them).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from protocols.errors import DataError
from synth import Objective, cautious
from synth.objectives import CATALOGUE, fractions

from .objectives_table import KINDS, OWN, check_sites, expanded, read_table, refused_value

__all__ = ["read_asked", "read_wanted"]

Range = Mapping[str | int, tuple[float, float]]


def read_wanted(path: Path, site_ids: tuple[str, ...], natural_range: Range | None = None) -> Objective:
    """The objective that a file declares; see `read_asked`."""
    return read_asked(path, site_ids, natural_range)[0]


def read_asked(
    path: Path, site_ids: tuple[str, ...], natural_range: Range | None = None
) -> tuple[Objective, dict[str, str]]:
    """The objective that a file declares, and what it asks for in its own numbers, by the name of the row.

    A row such as ``level:v4_009@-1.43`` holds natural SDs, where the file said that site at 0.0 of its range.

    Parameters
    ----------
    path : Path
        TOML, as in the head of this module.
    site_ids : tuple of str
        Sites that the encoder predicts.
    natural_range : dict of site to (low, high), or None
        In z, for `fractions`.

    Raises
    ------
    DataError
        W01: not TOML, or no objective in it; W02: an unknown key or kind (names the nearest); W03: an unknown site
        (names the nearest); W04: a value that the objective refuses.
    """
    table, entries, made = _read(path, site_ids, natural_range)
    told: dict[str, str] = {}
    for entry, objective in zip(entries, made, strict=True):
        told |= dict(zip(objective.row_names, _words(entry, objective.row_names), strict=True))
    together = reduce(or_, made)
    kappa = table.get("kappa", 0.5)
    if isinstance(kappa, bool) or not isinstance(kappa, int | float) or not 0 <= kappa <= 10:
        raise refused_value(
            path, f"kappa = {kappa!r}", "a number from 0 to 10", cause="a unit or sign other than standard deviations"
        )
    return (cautious(together, float(kappa)) if kappa else together), told


def _words(entry: dict[str, Any], names: Sequence[str]) -> list[str]:
    plain = [name.replace(":", " ") for name in names]
    if "fractions" not in entry:
        return plain
    added = [f" + {more}" if more else "" for more in (name.partition(" + ")[2] for name in plain)]
    if entry["kind"] == "level":
        site = entry["sites"][0]
        return [f"level {site} at {v:g} of its range{a}" for v, a in zip(entry["fractions"], added, strict=True)]
    pattern = ", ".join(f"{site} at {v:g}" for site, v in entry["fractions"].items())
    return [f"pattern {pattern} of their ranges{a}" for a in added]


def _read(
    path: Path, site_ids: tuple[str, ...], ranges: Range | None
) -> tuple[dict[str, Any], list[dict[str, Any]], list[Objective]]:
    """The table of the file, its entries with all names written out, and their objectives."""
    table = read_table(path)
    check_sites(path, table, site_ids)
    entries = [_expanded(entry, site_ids) for entry in table["objective"]]
    made = [_made(path, entry, f"objective {i + 1}", ranges=ranges) for i, entry in enumerate(entries)]
    return table, entries, made


def _expanded(entry: dict[str, Any], site_ids: tuple[str, ...]) -> dict[str, Any]:
    """The entry, and what is added to it, with names in place of their beginnings."""
    more = entry.get("plus")
    if not isinstance(more, list) or not all(isinstance(inner, dict) for inner in more):
        return expanded(entry, site_ids)  # nothing is added, or what `_made` refuses
    return expanded(entry, site_ids) | {"plus": [_expanded(inner, site_ids) for inner in more]}


def _made(path: Path, entry: dict[str, Any], where: str, *, ranges: Range | None) -> Objective:
    """The objective of one entry, with what is added to it."""
    kind = str(entry["kind"])
    arguments = {k: v for k, v in entry.items() if k not in OWN}
    try:
        if not math.isfinite(float(entry.get("weight", 1.0))):
            raise ValueError(f"weight {entry['weight']}; expected a finite number")
        if "fractions" in entry:
            if clash := [k for k in ("wanted", "values", "levels") if k in entry]:
                raise ValueError(f"fractions together with {clash[0]}; give one of them")
            arguments |= _from_fractions(kind, entry, ranges)
        objective = CATALOGUE[kind](**arguments)
        if (weight := entry.get("weight", 1.0)) != 1.0:
            objective = float(weight) * objective
        for i, more in enumerate(entry.get("plus", [])):
            added = _made(path, more, f"{where}, plus {i + 1}", ranges=ranges)
            objective = objective + (added.repeat(len(objective)) if len(added) == 1 else added)
    except DataError:
        raise  # of what is added
    except (ValueError, TypeError, AttributeError) as error:
        expected = f"the keys {', '.join(KINDS[kind])} as `stimsynth generate --kinds` lists"
        cause = "a missing key or a value of another type"
        raise refused_value(path, f"{where} ({kind}): {error}", expected, cause=cause) from error
    return objective


def _from_fractions(kind: str, entry: dict[str, Any], ranges: Range | None) -> dict[str, Any]:
    """Shares of the natural range as z: of every site named (pattern), or of one site in steps (level)."""
    if ranges is None:
        raise ValueError("fractions need the natural range of the sites, which is not known here")
    given = entry["fractions"]
    if kind == "pattern":
        return {"wanted": fractions({s: float(v) for s, v in given.items()}, ranges)}
    if kind == "level":
        listed = entry.get("sites", [])
        if len(listed) != 1:
            raise ValueError("fractions of a level are those of one site; write one [[objective]] per site")
        return {"levels": [fractions({listed[0]: float(v)}, ranges)[listed[0]] for v in given]}
    raise ValueError("fractions belong to a pattern or a level")
