"""What an image should make the sites do: objectives declared by site name, one row an image, higher is better.

An `Objective` is a list of rows; row *i* scores image *i*. Rows are weighted sums of terms, so that ``+``, ``-`` and
scalar ``*`` compose them and a JSON description holds all of it. Nothing is known about an encoder until `bind`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

__all__ = ["CATALOGUE", "BoundObjective", "Objective", "Row", "Term", "cautious", "one_hot", "stretch", "term"]

Site = str | int
TermFunction = Callable[[Tensor, Tensor, Tensor, Mapping[str, float]], Tensor]
"""(images (n, C, H, W), z (..., n, U), columns (n,), settings) -> (..., n)."""

SCHEMA = "objective/1"


def site_name(site: Site) -> str:
    """The id of a site; an integer column that has no name is called ``column_3``."""
    return site if isinstance(site, str) else f"column_{site}"


@dataclass(frozen=True)
class Term:
    """One weighted term of a row: what is asked (`kind`) of which `site`."""

    kind: str
    site: Site
    weight: float = 1.0
    settings: tuple[tuple[str, float], ...] = ()
    function: TermFunction = field(default=lambda *_: torch.empty(0), compare=False, repr=False)

    @property
    def name(self) -> str:
        """``stretch:v4_012``, with its weight in front where that is not 1."""
        bare = f"{self.kind}:{site_name(self.site)}"
        return bare if self.weight == 1.0 else f"{self.weight:g}*{bare}"


@dataclass(frozen=True)
class Row:
    """What one image is optimised for; `kappa` weighs the disagreement of an ensemble against it."""

    terms: tuple[Term, ...]
    kappa: float = 0.0

    @property
    def name(self) -> str:
        """The names of the terms, joined."""
        return " + ".join(t.name for t in self.terms)


@dataclass(frozen=True)
class Objective:
    """Rows to be optimised, one image a row. Made by the factories of this module, composed with ``+ - * |``."""

    rows: tuple[Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __add__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        if len(self) != len(other):
            raise ValueError(
                f"cannot add objectives of {len(self)} and {len(other)} rows: + adds row by row. Use a | b to put rows "
                "one after the other, or give both the same sites"
            )
        return Objective(tuple(_add_rows(a, b) for a, b in zip(self.rows, other.rows, strict=True)))

    def __sub__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return self + (-1.0 * other)

    def __mul__(self, factor: float) -> Objective:
        if isinstance(factor, bool) or not isinstance(factor, (int, float)):
            return NotImplemented
        return Objective(
            tuple(
                replace(row, terms=tuple(replace(t, weight=float(factor) * t.weight) for t in row.terms))
                for row in self.rows
            )
        )

    __rmul__ = __mul__

    def __neg__(self) -> Objective:
        return -1.0 * self

    def __or__(self, other: Objective) -> Objective:
        if not isinstance(other, Objective):
            return NotImplemented
        return Objective(self.rows + other.rows)

    def __getitem__(self, index: int | slice) -> Objective:
        return Objective(self.rows[index] if isinstance(index, slice) else (self.rows[index],))

    def take(self, indices: Iterable[int]) -> Objective:
        """The rows `indices`, in that order."""
        return Objective(tuple(self.rows[int(i)] for i in indices))

    def repeat(self, count: int) -> Objective:
        """Every row `count` times, copies of a row side by side."""
        return Objective(tuple(row for row in self.rows for _ in range(count)))

    @property
    def row_names(self) -> tuple[str, ...]:
        """One name a row, such as ``stretch:v4_012``."""
        return tuple(row.name for row in self.rows)

    @property
    def kinds(self) -> tuple[str, ...]:
        """One kind a row; the kinds of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(t.kind for t in row.terms)) for row in self.rows)

    @property
    def targets(self) -> tuple[str, ...]:
        """One target site a row; the targets of a composed row joined by ``+``."""
        return tuple("+".join(dict.fromkeys(site_name(t.site) for t in row.terms)) for row in self.rows)

    def describe(self) -> dict[str, Any]:
        """A JSON-able description from which `from_description` builds the same objective."""
        return {"schema": SCHEMA, "rows": [_describe_row(row) for row in self.rows]}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> Objective:
        """The objective that `describe` described."""
        if description.get("schema") != SCHEMA:
            raise ValueError(f"objective description of schema {description.get('schema')!r}; expected {SCHEMA!r}")
        return Objective(tuple(_read_row(row) for row in description["rows"]))

    def bind(
        self, site_ids: Sequence[str] | None = None, mean: Tensor | None = None, sd: Tensor | None = None
    ) -> BoundObjective:
        """Bind the sites to columns of an encoder's responses.

        Parameters
        ----------
        site_ids : sequence of U str, or None
            The encoder's sites in column order; None leaves integer columns only.
        mean, sd : Tensor of shape (U,), or None
            Mean and SD of the responses to natural images, which give the z units; None = 0 and 1.
        """
        columns = [[_column(t.site, site_ids) for t in row.terms] for row in self.rows]
        _check_standardisation(mean, sd, site_ids)
        groups: dict[tuple[str, tuple[tuple[str, float], ...]], list[tuple[int, int, Term]]] = {}
        for i, row in enumerate(self.rows):
            for t, column in zip(row.terms, columns[i], strict=True):
                groups.setdefault((t.kind, t.settings), []).append((i, column, t))
        return BoundObjective(
            groups=tuple(_group(members) for members in groups.values()),
            kappa=torch.tensor([row.kappa for row in self.rows]),
            mean=None if mean is None else mean.detach(),
            sd=None if sd is None else sd.detach(),
        )


@dataclass(frozen=True)
class _Group:
    """Terms of one kind and one setting, evaluated together."""

    function: TermFunction
    settings: dict[str, float]
    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    weights: Tensor  # (n,)


@dataclass(frozen=True)
class BoundObjective:
    """An objective whose sites are columns of one encoder's responses."""

    groups: tuple[_Group, ...]
    kappa: Tensor
    mean: Tensor | None = None
    sd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.kappa)

    def to(self, device: torch.device | str) -> BoundObjective:
        """The same objective with its tensors on `device`."""
        groups = tuple(
            replace(g, rows=g.rows.to(device), columns=g.columns.to(device), weights=g.weights.to(device))
            for g in self.groups
        )
        mean, sd = (None if x is None else x.to(device) for x in (self.mean, self.sd))
        return BoundObjective(groups, self.kappa.to(device), mean, sd)

    def __call__(self, images: Tensor, responses: Tensor) -> Tensor:
        """One score an image.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
        responses : Tensor of shape (B, U), or (M, B, U) from an ensemble, in the encoder's unit

        Returns
        -------
        Tensor of shape (B,)
            Higher is better. Of an ensemble: mean - kappa SD of the members' scores (`cautious`).
        """
        if responses.device != self.kappa.device:
            return self.to(responses.device)(images, responses)
        self._check(images, responses)
        scores = self.per_member(images, responses)
        if scores.dim() == 1:
            return scores
        if scores.shape[0] == 1 or not bool(self.kappa.any()):
            return scores.mean(0)
        # an SD of exactly zero has no gradient: its floor keeps the derivative finite
        return scores.mean(0) - self.kappa.to(scores) * scores.var(0).clamp_min(1e-12).sqrt()

    def per_member(self, images: Tensor, responses: Tensor) -> Tensor:
        """Scores before the members are reduced: (B, U) -> (B,), (M, B, U) -> (M, B)."""
        z = responses
        if self.mean is not None:
            z = z - self.mean.to(z)
        if self.sd is not None:
            z = z / self.sd.to(z)
        total = z.new_zeros(z.shape[:-1])
        for group in self.groups:
            whole = len(group.rows) == len(self) and bool((group.rows.cpu() == torch.arange(len(self))).all())
            picked = (images, z) if whole else (images[group.rows], z.index_select(-2, group.rows))
            values = group.function(*picked, group.columns, group.settings)  # (..., n)
            total = total.index_add(-1, group.rows, group.weights.to(values) * values)
        return total

    def _check(self, images: Tensor, responses: Tensor) -> None:
        if responses.dim() not in (2, 3):
            raise ValueError(
                f"responses of shape {tuple(responses.shape)}; expected (images, sites) or (members, images, sites)"
            )
        if len(images) != len(self) or responses.shape[-2] != len(self):
            raise ValueError(
                f"{len(images)} images and responses to {responses.shape[-2]} for an objective of {len(self)} rows; "
                "expected one image a row. Slice the objective like the images: objective[i:j]"
            )
        largest = max(int(g.columns.max()) for g in self.groups)
        wrong = [len(x) for x in (self.mean, self.sd) if x is not None and len(x) != responses.shape[-1]]
        if largest >= responses.shape[-1] or wrong:
            raise ValueError(
                f"responses have {responses.shape[-1]} sites; expected "
                + (f"{wrong[0]}, the length of the natural mean and SD" if wrong else f"more than column {largest}")
            )


def term(kind: str, sites: Iterable[Site] | Site, function: TermFunction, **settings: float) -> Objective:
    """An objective of one row a site that scores ``function(images, z, columns, settings)``; factories end here."""
    listed = [sites] if isinstance(sites, (str, int)) else list(sites)
    if not listed:
        raise ValueError(f"{kind} of no sites; expected at least one site name")
    frozen = tuple(sorted((k, float(v)) for k, v in settings.items()))
    return Objective(tuple(Row((Term(kind, site, 1.0, frozen, function),)) for site in listed))


def stretch(sites: Iterable[Site] | Site) -> Objective:
    """Drive a site as high as possible: its response in natural SDs above the natural mean.

    Bashivan, Kar & DiCarlo (2019), "stretch" control, in z units so that sites compare.
    """
    return term("stretch", sites, _stretch)


def one_hot(sites: Iterable[Site] | Site, temperature: float = 1.0) -> Objective:
    """Drive a site while all others stay low: log-softmax over ALL sites of z / temperature, at the target.

    Bashivan, Kar & DiCarlo (2019), "one-hot population" control. Softmax depends on the unit: here it is always the
    natural SD. The logarithm keeps a gradient where the target starts low.
    """
    if not temperature > 0:
        raise ValueError(f"temperature {temperature}; expected a number above 0 (1 = natural SDs as they are)")
    return term("one_hot", sites, _one_hot, temperature=temperature)


CATALOGUE: dict[str, Callable[..., Objective]] = {"stretch": stretch, "one_hot": one_hot}
"""The factories that a description can name."""


def cautious(objective: Objective, kappa: float) -> Objective:
    """Charge each row `kappa` SDs of disagreement between the members of an ensemble: mean - kappa SD.

    Nothing changes for an encoder of one member. The SD is the sample SD (divisor M - 1) of the members' scores.
    """
    if not kappa >= 0:
        raise ValueError(f"kappa {kappa}; expected a number not below 0")
    return Objective(tuple(replace(row, kappa=float(kappa)) for row in objective.rows))


def nearest(name: str, known: Iterable[str]) -> str:
    """The phrase that names the nearest known name, for error messages."""
    listed = list(known)
    close = difflib.get_close_matches(name, listed, n=1, cutoff=0.0)
    return f"did you mean {close[0]!r}?" if close else "there are none"


def _stretch(images: Tensor, z: Tensor, columns: Tensor, settings: Mapping[str, float]) -> Tensor:
    return z.gather(-1, columns.expand(z.shape[:-1]).unsqueeze(-1)).squeeze(-1)


def _one_hot(images: Tensor, z: Tensor, columns: Tensor, settings: Mapping[str, float]) -> Tensor:
    return _stretch(images, torch.log_softmax(z / settings["temperature"], -1), columns, settings)


def _add_rows(a: Row, b: Row) -> Row:
    if a.kappa != b.kappa:
        raise ValueError(
            f"cannot add rows of kappa {a.kappa:g} and {b.kappa:g} ({a.name} and {b.name}): apply cautious() to the sum"
        )
    return Row(a.terms + b.terms, a.kappa)


def _describe_row(row: Row) -> dict[str, Any]:
    terms = [{"kind": t.kind, "site": t.site, "weight": t.weight, "settings": dict(t.settings)} for t in row.terms]
    return {"terms": terms, "kappa": row.kappa}


def _read_row(row: Mapping[str, Any]) -> Row:
    terms: list[Term] = []
    for t in row["terms"]:
        if t["kind"] not in CATALOGUE:
            raise ValueError(f"unknown objective {t['kind']!r}; {nearest(t['kind'], CATALOGUE)}")
        made = CATALOGUE[t["kind"]]([t["site"]], **t["settings"])
        terms.append(replace(made.rows[0].terms[0], weight=float(t["weight"])))
    return Row(tuple(terms), float(row["kappa"]))


def _column(site: Site, site_ids: Sequence[str] | None) -> int:
    if isinstance(site, str):
        known = [] if site_ids is None else list(site_ids)
        if site not in known:
            raise ValueError(
                f"unknown site {site!r}; {nearest(site, known)}"
                if known
                else f"site {site!r} is a name, but the encoder has no site_ids; use its integer column"
            )
        return known.index(site)
    if site < 0 or (site_ids is not None and site >= len(site_ids)):
        limit = "" if site_ids is None else f" below {len(site_ids)}"
        raise ValueError(f"column {site}; expected a column from 0{limit}")
    return site


def _check_standardisation(mean: Tensor | None, sd: Tensor | None, site_ids: Sequence[str] | None) -> None:
    for what, x in (("mean", mean), ("SD", sd)):
        if x is None:
            continue
        if x.dim() != 1 or (site_ids is not None and len(x) != len(site_ids)):
            raise ValueError(f"natural {what} of shape {tuple(x.shape)}; expected one value a site")
        bad = ~torch.isfinite(x) | ((x <= 0) if what == "SD" else torch.zeros_like(x, dtype=torch.bool))
        if bool(bad.any()):
            names = [site_name(int(i)) if site_ids is None else site_ids[int(i)] for i in bad.nonzero().flatten()]
            raise ValueError(
                f"natural {what} is {x[bad][0].item():g} for {', '.join(names[:5])}; expected finite values"
                + (
                    " above 0. A site that never varied cannot be standardised: leave it out of the encoder"
                    * (what == "SD")
                )
            )


def _group(members: list[tuple[int, int, Term]]) -> _Group:
    rows, columns, terms = zip(*members, strict=True)
    return _Group(
        function=terms[0].function,
        settings=dict(terms[0].settings),
        rows=torch.tensor(rows),
        columns=torch.tensor(columns),
        weights=torch.tensor([t.weight for t in terms]),
    )
