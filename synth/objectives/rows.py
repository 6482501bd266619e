"""Rows and terms: what one image is optimised for, and its JSON description."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from .terms import KINDS, TermFunction

Site = str | int
SCHEMA = "objective/1"


def site_name(site: Site) -> str:
    """The id of a site; an integer column that has no name is called ``column_3``."""
    return site if isinstance(site, str) else f"column_{site}"


@dataclass(frozen=True)
class Term:
    """One weighted term of a row: what is asked (`kind`) of which `site`.

    `among`: other sites that it names (empty = all), with one number each in `values`; `label` tells rows of one kind and site apart.
    `raw`: the function reads responses in the encoder's unit.
    """

    kind: str
    site: Site
    weight: float = 1.0
    settings: tuple[tuple[str, float], ...] = ()
    among: tuple[Site, ...] = ()
    values: tuple[float, ...] = ()
    label: str = ""
    function: TermFunction = field(default=lambda *_: torch.empty(0), compare=False, repr=False)
    raw: bool = field(default=False, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``stretch:v4_012``, with its weight in front where that is not 1."""
        bare = f"{self.kind}:{site_name(self.site)}{self.label}"
        return bare if self.weight == 1.0 else f"{self.weight:g}*{bare}"


@dataclass(frozen=True)
class Row:
    """What one image is optimised for.

    `kappa` weighs the disagreement of an ensemble against it; `versus`: the first member's score less the second's counts, instead of
    the mean over members; rows of one `group` ("" = none) are optimised together and never separated.
    """

    terms: tuple[Term, ...]
    kappa: float = 0.0
    versus: bool = False
    group: str = ""

    @property
    def name(self) -> str:
        """The names of the terms, joined."""
        return " + ".join(t.name for t in self.terms)


def nearest(name: str, known: Iterable[str]) -> str:
    """The phrase that names the nearest known name, for error messages."""
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}?" if close else "there are none"


def add_rows(a: Row, b: Row) -> Row:
    """The row that asks for both, refused where they are composed differently."""
    if (a.kappa, a.versus) != (b.kappa, b.versus):
        raise ValueError(
            f"cannot add rows of kappa {a.kappa:g} and {b.kappa:g}, of against() {a.versus} and {b.versus} ({a.name} and {b.name}): "
            "apply cautious() and against() to the sum"
        )
    if a.group and b.group and a.group != b.group:
        raise ValueError(f"cannot add rows of the groups {a.group!r} and {b.group!r}: a row belongs to one group")
    return Row(a.terms + b.terms, a.kappa, a.versus, a.group or b.group)


def describe_row(row: Row) -> dict[str, Any]:
    """JSON-able; what is at its default is left out."""
    terms = []
    for t in row.terms:
        described = {"kind": t.kind, "site": t.site, "weight": t.weight, "settings": dict(t.settings)}
        more = {"among": list(t.among), "values": list(t.values), "label": t.label}
        terms.append(described | {k: v for k, v in more.items() if v})
    more_of_row = {"versus": row.versus, "group": row.group}
    return {"terms": terms, "kappa": row.kappa} | {k: v for k, v in more_of_row.items() if v}


def read_row(row: Mapping[str, Any]) -> Row:
    """The row that `describe_row` described."""
    terms: list[Term] = []
    for t in row["terms"]:
        if t["kind"] not in KINDS:
            raise ValueError(f"unknown objective {t['kind']!r}; {nearest(t['kind'], KINDS)}")
        settings = tuple(sorted((str(k), float(v)) for k, v in t["settings"].items()))
        among, values = tuple(t.get("among", ())), tuple(float(v) for v in t.get("values", ()))
        terms.append(
            Term(
                t["kind"],
                t["site"],
                float(t["weight"]),
                settings,
                among,
                values,
                str(t.get("label", "")),
                *KINDS[t["kind"]],
            )
        )
    return Row(tuple(terms), float(row["kappa"]), bool(row.get("versus", False)), str(row.get("group", "")))
