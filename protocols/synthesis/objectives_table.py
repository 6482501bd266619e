"""The file of objectives as a table: TOML, keys, kinds and names of sites, checked without loading a network.

`protocols.synthesis.objectives_file` turns the checked table into an objective.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from protocols.disk.toml import nearest, parse_toml
from protocols.errors import DataError

__all__ = ["KINDS", "OWN", "check_sites", "read_table", "refused_value"]

KINDS: dict[str, tuple[str, ...]] = {
    "discriminate": ("clusters", "temperature"),
    "diverse": ("sites", "count", "floor", "penalty"),
    "groups": ("first", "second", "mode", "temperature"),
    "level": ("sites", "levels"),
    "margin": ("sites", "top", "among"),
    "one_hot": ("sites", "temperature", "among"),
    "pattern": ("wanted", "values"),
    "rate_softmax": ("sites", "among"),
    "stretch": ("sites",),
    "suppress": ("sites",),
    "within": ("sites", "low", "high"),
}
"""The kinds of objective with the arguments of their factories in `synth.objectives.CATALOGUE`."""
OWN = ("kind", "weight", "plus", "fractions")
"""Keys of an entry that are no arguments of its factory."""
TOP = ("kappa", "objective")
SITE_KEYS = ("sites", "among", "clusters", "first", "second", "wanted", "fractions")
PATTERN_KEYS = ("first", "second")
"""Those of them in which a name that ends in ``*`` stands for all sites that begin so."""


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a file of objectives, with known keys and kinds; values and names of sites are not looked at.

    Raises
    ------
    DataError
        W01: not TOML, or no objective in it; W02: an unknown key or kind (names the nearest).
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
    for entry, where in _entries(table):
        _check_kind(path, entry, where)
        _check_keys(path, entry, (*OWN, *KINDS[entry["kind"]]), where=f"{where} ({entry['kind']})")
    return table


def check_sites(path: Path, table: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `DataError` W03 for the first site that is not one of `known` (names the nearest)."""
    for entry, where in _entries(table):
        for site in (s for key in SITE_KEYS for s in _names(entry.get(key), numbers=key == "fractions")):
            if not isinstance(site, str) or not (site in known or _named_so(site, entry, known)):
                near = nearest(str(site), known)
                expected = f"sites of the encoder ({len(known)} of them)" + (f"; nearest: {near}" if near else "")
                cause = "a slip of the pen, or the site was left out of the fit because it is not reliable"
                found = f"the site {site!r} in {where} ({entry['kind']})"
                raise _error(path, found, expected, cause=cause, code="W03")


def expanded(entry: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """The entry with every name that ends in ``*``, in the keys that may hold one, in place of the sites it stands for.

    A name of a site stands for itself, whatever it ends in.
    """
    out = dict(entry)
    for key in PATTERN_KEYS:
        if key in out:
            listed = [[n] if n in known else [s for s in known if s.startswith(n[:-1])] for n in _names(out[key])]
            out[key] = [site for sites in listed for site in sites]
    return out


def _named_so(name: str, entry: Mapping[str, Any], known: Sequence[str]) -> bool:
    """Whether `name` is the beginning of sites, with a ``*`` behind it, where an entry may have one."""
    may = name.endswith("*") and any(name in _names(entry.get(key)) for key in PATTERN_KEYS)
    return may and any(site.startswith(name[:-1]) for site in known)


def refused_value(path: Path, found: str, expected: str, *, cause: str) -> DataError:
    """What is told of a value that an objective refuses (W04)."""
    return _error(path, found, expected, cause=cause, code="W04")


def _entries(table: Mapping[str, Any]) -> list[tuple[dict[str, Any], str]]:
    """All entries with their places, those of `plus` after the entry that they are added to."""
    found: list[tuple[dict[str, Any], str]] = []

    def add(entry: dict[str, Any], where: str) -> None:
        found.append((entry, where))
        more = entry.get("plus", [])
        for i, inner in enumerate(more if isinstance(more, list) else []):
            if isinstance(inner, dict):
                add(inner, f"{where}, plus {i + 1}")

    for i, entry in enumerate(table["objective"]):
        add(entry, f"objective {i + 1}")
    return found


def _check_kind(path: Path, entry: Mapping[str, Any], where: str) -> None:
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        near = nearest(str(kind), KINDS)
        expected = f"one of {', '.join(KINDS)}" + (f" (nearest: {near})" if near else "")
        raise _error(
            path, f"kind = {kind!r} in {where}", expected, cause="a slip of the pen, or the key is missing", code="W02"
        )


def _check_keys(path: Path, table: Mapping[str, Any], known: tuple[str, ...], *, where: str) -> None:
    unknown = [k for k in table if k not in known]
    if unknown:
        near = nearest(unknown[0], known)
        expected = f"keys among {', '.join(known)}" + (f" (nearest: {near})" if near else "")
        raise _error(path, f"the key {unknown[0]!r} in {where}", expected, cause="a slip of the pen", code="W02")


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
