"""Objectives whose sites are columns of one encoder's responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .rows import Site, Term, nearest, site_name
from .terms import TermFunction


@dataclass(frozen=True)
class TermGroup:
    """Terms of one kind and one setting, evaluated together."""

    function: TermFunction
    raw: bool
    settings: dict[str, Any]  # numbers, and the tensors among (k,), values (k,), sets (n,)
    rows: Tensor  # (n,)
    columns: Tensor  # (n,)
    weights: Tensor  # (n,)

    def to(self, device: torch.device | str) -> TermGroup:
        """The same with its tensors on `device`."""
        settings = {k: v.to(device) if isinstance(v, Tensor) else v for k, v in self.settings.items()}
        rows, columns, weights = (x.to(device) for x in (self.rows, self.columns, self.weights))
        return TermGroup(
            function=self.function, raw=self.raw, settings=settings, rows=rows, columns=columns, weights=weights
        )


@dataclass(frozen=True)
class BoundObjective:
    """An objective whose sites are columns of one encoder's responses."""

    groups: tuple[TermGroup, ...]
    kappa: Tensor
    versus: Tensor
    mean: Tensor | None = None
    sd: Tensor | None = None

    def __len__(self) -> int:
        return len(self.kappa)

    def to(self, device: torch.device | str) -> BoundObjective:
        """The same objective with its tensors on `device`."""
        mean, sd = (None if x is None else x.to(device) for x in (self.mean, self.sd))
        groups = tuple(g.to(device) for g in self.groups)
        return BoundObjective(
            groups=groups, kappa=self.kappa.to(device), versus=self.versus.to(device), mean=mean, sd=sd
        )

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
        if bool(self.versus.any()) and (scores.dim() == 1 or len(scores) != 2):
            raise ValueError(
                f"responses of shape {tuple(responses.shape)} for an objective made by against(); expected two "
                "members, (2, images, sites), the encoders to be told apart"
            )
        if scores.dim() == 1:
            return scores
        reduced = scores.mean(0)
        if scores.shape[0] > 1 and bool(self.kappa.any()):
            # an SD of exactly zero has no gradient: its floor keeps the derivative finite
            reduced = reduced - self.kappa.to(scores) * scores.var(0).clamp_min(1e-12).sqrt()
        return torch.where(self.versus, scores[0] - scores[-1], reduced) if bool(self.versus.any()) else reduced

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
            whole = len(group.rows) == len(self) and bool((group.rows.cpu() == torch.arange(len(self))).all())
            picked = (images, seen) if whole else (images[group.rows], seen.index_select(-2, group.rows))
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
        largest = max(int(g.columns.max()) for g in self.groups)
        wrong = [len(x) for x in (self.mean, self.sd) if x is not None and len(x) != responses.shape[-1]]
        if largest >= responses.shape[-1] or wrong:
            raise ValueError(
                f"responses have {responses.shape[-1]} sites; expected "
                + (f"{wrong[0]}, the length of the natural mean and SD" if wrong else f"more than column {largest}")
            )


def column_of(site: Site, site_ids: Sequence[str] | None) -> int:
    """The column of a site, refused where there is none."""
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
    """One group of the terms (row, column, term) of one kind and one setting."""
    rows, columns, terms = zip(*members, strict=True)
    first: Term = terms[0]
    settings: dict[str, Any] = {**dict(first.settings), "sets": torch.tensor([sets[i] for i in rows])}
    if first.among:
        settings["among"] = torch.tensor([column_of(site, site_ids) for site in first.among])
    if first.values:
        settings["values"] = torch.tensor(first.values)
    weights = torch.tensor([t.weight for t in terms])
    return TermGroup(
        function=first.function,
        raw=first.raw,
        settings=settings,
        rows=torch.tensor(rows),
        columns=torch.tensor(columns),
        weights=weights,
    )
