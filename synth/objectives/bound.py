"""Objectives whose sites are columns of one encoder's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from .rows import Site, Term, nearest, site_name
from .terms import KINDS, TermFunction


@dataclass(frozen=True)
class TermGroup:
    """Terms of one kind and one setting, evaluated together.

    What a call needs to know of its tensors stands here as plain numbers: to ask a tensor waits for the device.

    Attributes
    ----------
    function, raw : as of `Term`
    settings : dict
        Numbers, and the tensors `among` (k,), `values` (k,), `sets` (n,).
    rows, columns : Tensor of shape (n,)
    weights : Tensor of shape (n,)
    name : str
        Of the first term, for error messages.
    used : frozenset of int, or None
        The columns that the terms read; None = all.
    sites : int
        How many sites the kind compares at least.
    """

    function: TermFunction
    raw: bool
    settings: dict[str, Any]
    rows: Tensor
    columns: Tensor
    weights: Tensor
    name: str
    used: frozenset[int] | None
    sites: int
    largest: int  # column that is named
    whole: bool  # rows are 0, 1, ..., all of the objective's

    def to(self, device: torch.device | str) -> TermGroup:
        """The same with its tensors on `device`."""
        settings = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.settings.items()}
        rows, columns, weights = (x.to(device) for x in (self.rows, self.columns, self.weights))
        return replace(self, settings=settings, rows=rows, columns=columns, weights=weights)

    def check_sites(self, count: int) -> None:
        """Refuse an encoder of `count` sites, where the kind needs more or a column is not among them."""
        if self.largest >= count:
            raise ValueError(f"responses have {count} sites; expected more than column {self.largest}")
        if self.used is None and count < self.sites:
            top = f", or top={count - 1}" if count > 1 else ""
            raise ValueError(
                f"{self.name} compares a site with others and needs {self.sites} sites, but there "
                f"{'is' if count == 1 else 'are'} {count}; expected an encoder of at least {self.sites} sites{top}. "
                "One site alone is driven by stretch"
            )


@dataclass(frozen=True)
class BoundObjective:
    """An objective whose sites are columns of one encoder's responses.

    On its device (`to`), a call copies nothing and waits for nothing.
    """

    groups: tuple[TermGroup, ...]
    kappa: Tensor
    versus: Tensor
    mean: Tensor | None = None
    sd: Tensor | None = None
    careful: bool = True  # any kappa above 0
    contrasts: bool = True  # any row of `against`

    def __len__(self) -> int:
        return len(self.kappa)

    def to(self, device: torch.device | str) -> BoundObjective:
        """The same objective with its tensors on `device`."""
        mean, sd = (None if x is None else x.to(device) for x in (self.mean, self.sd))
        groups = tuple(g.to(device) for g in self.groups)
        kappa, versus = self.kappa.to(device), self.versus.to(device)
        return replace(self, groups=groups, kappa=kappa, versus=versus, mean=mean, sd=sd)

    def check_sites(self, count: int) -> None:
        """Refuse an encoder of `count` sites that lacks a column, or sites to compare, or has another natural range."""
        wrong = [len(x) for x in (self.mean, self.sd) if x is not None and len(x) != count]
        if wrong:
            raise ValueError(
                f"responses have {count} sites; expected {wrong[0]}, the length of the natural mean and SD"
            )
        for group in self.groups:
            group.check_sites(count)

    def used(self, count: int) -> list[int]:
        """The columns, of `count`, that any score depends on."""
        columns = [range(count) if g.used is None else g.used for g in self.groups]
        return sorted({column for some in columns for column in some})

    def __call__(self, images: Tensor, responses: Tensor) -> Tensor:
        """One score per image.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
        responses : Tensor of shape (B, U), or (M, B, U) from an ensemble, in the encoder's unit

        Returns
        -------
        Tensor of shape (B,)
            Higher is better. Of an ensemble: mean - kappa SD of the members' scores (`cautious`), or the first member's
            score minus the second's (`against`).
        """
        if responses.device != self.kappa.device:
            return self.to(responses.device)(images, responses)
        self._check(images, responses)
        scores = self.per_member(images, responses)
        if self.contrasts and (scores.dim() == 1 or len(scores) != 2):
            raise ValueError(
                f"responses of shape {tuple(responses.shape)} for an objective made by against(); expected two "
                "members, (2, images, sites), the encoders to be told apart"
            )
        if scores.dim() == 1:
            return scores
        reduced = scores.mean(0)
        if scores.shape[0] > 1 and self.careful:
            # an SD of exactly zero has no gradient: its floor keeps the derivative finite
            reduced = reduced - self.kappa.to(scores) * scores.var(0).clamp_min(1e-12).sqrt()
        return torch.where(self.versus, scores[0] - scores[-1], reduced) if self.contrasts else reduced

    def per_member(self, images: Tensor, responses: Tensor) -> Tensor:
        """Scores before the members are reduced: (B, U) -> (B,), (M, B, U) -> (M, B)."""
        z = responses
        if self.mean is not None:
            z = z - self.mean.to(z)
        if self.sd is not None:
            z = z / self.sd.to(z)
        total = z.new_zeros(z.shape[:-1])
        for group in self.groups:
            seen = responses if group.raw else z
            picked = (images, seen) if group.whole else (images[group.rows], seen.index_select(-2, group.rows))
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
                "expected one image per row. Slice the objective like the images: objective[i:j]"
            )
        self.check_sites(responses.shape[-1])


def column_of(site: Site, site_ids: Sequence[str] | None) -> int:
    """The column of a site, refused where there is none, and where a number may mean a name or a column."""
    if isinstance(site, str):
        known = [] if site_ids is None else list(site_ids)
        if site not in known:
            raise ValueError(
                f"unknown site {site!r}; {nearest(site, known)}"
                if known
                else f"site {site!r} is a name, but the encoder has no site_ids; use its integer column"
            )
        return known.index(site)
    if isinstance(site, bool) or not isinstance(site, Integral):
        raise ValueError(f"site {site!r} of type {type(site).__name__}; expected a name, or an integer column")
    if site < 0 or (site_ids is not None and site >= len(site_ids)):
        limit = "" if site_ids is None else f" below {len(site_ids)}"
        raise ValueError(f"column {site}; expected a column from 0{limit}")
    if site_ids is not None and str(site) in site_ids and site_ids[site] != str(site):
        raise ValueError(
            f"site {site} may be column {site}, which is named {site_ids[site]!r}, or the site that is named "
            f"{str(site)!r}; expected no doubt. Give the name as text: {str(site)!r} or {site_ids[site]!r}"
        )
    return int(site)


def check_standardisation(mean: Tensor | None, sd: Tensor | None, site_ids: Sequence[str] | None) -> None:
    """Refuse a natural mean or SD (U,) that is not finite, an SD of 0, or another number of sites."""
    for what, x in (("mean", mean), ("SD", sd)):
        if x is None:
            continue
        if x.dim() != 1 or (site_ids is not None and len(x) != len(site_ids)):
            raise ValueError(f"natural {what} of shape {tuple(x.shape)}; expected one value per site")
        bad = ~torch.isfinite(x) | ((x <= 0) if what == "SD" else torch.zeros_like(x, dtype=torch.bool))
        if bool(bad.any()):
            advice = " above 0. A site that never varied cannot be standardised: leave it out of the encoder"
            advice = advice if what == "SD" else ""
            names = [site_name(int(i)) if site_ids is None else site_ids[int(i)] for i in bad.nonzero().flatten()]
            raise ValueError(
                f"natural {what} is {x[bad][0].item():g} for {', '.join(names[:5])}; expected finite values{advice}"
            )


def group_terms(members: list[tuple[int, int, Term]], sets: list[int], site_ids: Sequence[str] | None) -> TermGroup:
    """One group of the terms (row, column, term) of one kind and one setting; `sets` has one number per row."""
    rows, columns, terms = zip(*members, strict=True)
    first: Term = terms[0]
    settings: dict[str, Any] = {**dict(first.settings), "sets": torch.tensor([sets[i] for i in rows])}
    among = [column_of(site, site_ids) for site in first.among]
    if len(set(among)) < len(among):
        raise ValueError(
            f"{first.name} among {len(among)} sites that are {len(set(among))} columns; expected every site once, by "
            "its name or by its column: one that is named twice would count twice"
        )
    if among:
        settings["among"] = torch.tensor(among)
    if first.values:
        settings["values"] = torch.tensor(first.values, dtype=torch.float32)
        settings["clusters"] = 1 + int(max(first.values))  # where they are the numbers of clusters (`discriminate`)
    kind = KINDS.get(first.kind)
    sites = 1 + int(settings.get("top", 1)) if kind is not None and kind.compares else 1
    if among and len(among) < sites:
        raise ValueError(f"{first.name} among {len(among)} sites; expected at least {sites} to compare")
    weights = torch.tensor([t.weight for t in terms], dtype=torch.float32)
    return TermGroup(
        function=first.function,
        raw=first.raw,
        settings=settings,
        rows=torch.tensor(rows),
        columns=torch.tensor(columns),
        weights=weights,
        name=first.name,
        used=None if kind is not None and kind.compares and not among else frozenset([*columns, *among]),
        sites=sites,
        largest=max([*columns, *among]),
        whole=rows == tuple(range(len(sets))),
    )
