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

    [[objective]]
    kind = "stretch"
    sites = ["v4_012"]
    plus = [{ kind = "within", sites = ["v4_047"], low = -1.0, high = 1.0, weight = 2.0 }]   # added to it

The keys of an entry are the arguments of the factory of that name in `synth` (`stimsynth generate --kinds` lists them).
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

from protocols.disk.toml import nearest, parse_toml
from protocols.errors import DataError
from synth import Objective, cautious
from synth.objectives import CATALOGUE, fractions

__all__ = ["kinds", "read_wanted"]

Range = Mapping[str | int, tuple[float, float]]
OWN = ("kind", "weight", "plus", "fractions")
TOP = ("kappa", "objective")
SITE_KEYS = ("sites", "among", "clusters", "wanted", "fractions")


def kinds() -> dict[str, list[str]]:
    """The kinds of objective with the keys that each takes."""
    return {kind: list(inspect.signature(factory).parameters) for kind, factory in sorted(CATALOGUE.items())}


def read_wanted(path: Path, site_ids: tuple[str, ...], natural_range: Range | None = None) -> Objective:
    """The objective that a file declares.

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
    try:
        table = parse_toml(path)
    except (OSError, ValueError) as error:
        raise _error(
            path, str(error), "a TOML file of objectives", cause="a slip of the pen, or another file", code="W01"
        ) from error
    _check_keys(path, table, TOP, where="the file")
    entries = table.get("objective")
    if not isinstance(entries, list) or not entries or not all(isinstance(e, dict) for e in entries):
        raise _error(
            path, "no [[objective]]", "at least one, each with a kind", cause="the table is named otherwise", code="W01"
        )
    made = [
        _made(path, entry, f"objective {i + 1}", sites=site_ids, ranges=natural_range)
        for i, entry in enumerate(entries)
    ]
    together = reduce(or_, made)
    kappa = table.get("kappa", 0.5)
    if isinstance(kappa, bool) or not isinstance(kappa, int | float) or not 0 <= kappa <= 10:
        raise _error(
            path,
            f"kappa = {kappa!r}",
            "a number from 0 to 10",
            cause="a unit or sign other than standard deviations",
            code="W04",
        )
    return cautious(together, float(kappa)) if kappa else together


def _made(path: Path, entry: dict[str, Any], where: str, *, sites: tuple[str, ...], ranges: Range | None) -> Objective:
    """The objective of one entry, with what is added to it."""
    factory = _factory(path, entry, where)
    kind, parameters = str(entry["kind"]), list(inspect.signature(factory).parameters)
    _check_keys(path, entry, (*OWN, *parameters), where=f"{where} ({kind})")
    _check_sites(path, entry, where, known=sites)
    arguments = {k: v for k, v in entry.items() if k not in OWN}
    try:
        if not math.isfinite(float(entry.get("weight", 1.0))):
            raise ValueError(f"weight {entry['weight']}; expected a finite number")
        if "fractions" in entry:
            if clash := [k for k in ("wanted", "values", "levels") if k in entry]:
                raise ValueError(f"fractions together with {clash[0]}; give one of them")
            arguments |= _from_fractions(kind, entry, ranges)
        objective = factory(**arguments)
        if (weight := entry.get("weight", 1.0)) != 1.0:
            objective = float(weight) * objective
        for i, more in enumerate(entry.get("plus", [])):
            added = _made(path, more, f"{where}, plus {i + 1}", sites=sites, ranges=ranges)
            objective = objective + (added.repeat(len(objective)) if len(added) == 1 else added)
    except (ValueError, TypeError, AttributeError) as error:
        if isinstance(error, DataError):
            raise
        expected = f"the keys {', '.join(parameters)} as `stimsynth generate --kinds` lists"
        raise _error(
            path, f"{where} ({kind}): {error}", expected, cause="a missing key or a value of another type", code="W04"
        ) from error
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


def _factory(path: Path, entry: dict[str, Any], where: str) -> Callable[..., Objective]:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in CATALOGUE:
        near = nearest(str(kind), CATALOGUE)
        expected = f"one of {', '.join(CATALOGUE)}" + (f" (nearest: {near})" if near else "")
        raise _error(
            path, f"kind = {kind!r} in {where}", expected, cause="a slip of the pen, or the key is missing", code="W02"
        )
    return CATALOGUE[kind]


def _check_keys(path: Path, table: Mapping[str, Any], known: tuple[str, ...], *, where: str) -> None:
    unknown = [k for k in table if k not in known]
    if unknown:
        near = nearest(unknown[0], known)
        expected = f"keys among {', '.join(known)}" + (f" (nearest: {near})" if near else "")
        raise _error(path, f"the key {unknown[0]!r} in {where}", expected, cause="a slip of the pen", code="W02")


def _check_sites(path: Path, entry: dict[str, Any], where: str, *, known: tuple[str, ...]) -> None:
    for site in (s for key in SITE_KEYS for s in _names(entry.get(key), numbers=key == "fractions")):
        if not isinstance(site, str) or site not in known:
            near = nearest(str(site), known)
            expected = f"sites of the encoder ({len(known)} of them)" + (f"; nearest: {near}" if near else "")
            cause = "a slip of the pen, or the site was left out of the fit because it is not reliable"
            raise _error(path, f"the site {site!r} in {where}", expected, cause=cause, code="W03")


def _names(value: Any, *, numbers: bool = False) -> list[Any]:
    """The site names in a list, a list of lists or the keys of a table.

    `numbers`: a list holds numbers (fractions of a level), not names.
    """
    if isinstance(value, dict):
        return list(value)
    if isinstance(value, list):
        return [] if numbers else [name for item in value for name in (item if isinstance(item, list) else [item])]
    return [] if value is None else [value]


def _error(path: Path, found: str, expected: str, *, cause: str, code: str) -> DataError:
    return DataError(
        str(path), found=found, expected=expected, cause=cause, fix="correct the file and repeat the command", code=code
    )
