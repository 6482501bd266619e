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
    """One weighted term of a row.

    Attributes
    ----------
    kind : str
        What is asked of the site, such as "stretch"; a name in `KINDS`, or one of a term of your own.
    site : str, or int for a column without a name
    weight : float
    settings : tuple of (name, number)
    among : tuple of sites
        The sites that take part; empty = all.
    values : tuple of float
        One number per site in `among`, where the kind has them.
    label : str
        Distinguishes rows of the same kind and site.
    function : callable
        See `synth.objectives.terms`.
    raw : bool
        Whether the function reads responses in the encoder's unit in place of natural SDs.
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
    """What one image is optimised for: the sum of its terms.

    Attributes
    ----------
    terms : tuple of Term
    kappa : float
        How many SDs over the members of an ensemble are taken from their mean score.
    versus : bool
        The score is the first member's minus the second's, in place of the mean over members.
    group : str
        Rows of one group are optimised together and never separated; "" = none.
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
            f"cannot add rows of kappa {a.kappa:g} and {b.kappa:g}, of against() {a.versus} and {b.versus} ({a.name} "
            f"and {b.name}): apply cautious() and against() to the sum"
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
                kind=t["kind"],
                site=t["site"],
                weight=float(t["weight"]),
                settings=settings,
                among=among,
                values=values,
                label=str(t.get("label", "")),
                function=KINDS[t["kind"]].function,
                raw=KINDS[t["kind"]].raw,
            )
        )
    return Row(tuple(terms), float(row["kappa"]), bool(row.get("versus", False)), str(row.get("group", "")))
