"""Counts, chance and group test over the confirmatory controllers; consistency of predictions over images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from protocols.disk.files import finite_or_none
from protocols.project.key import CONTRASTS, Key
from protocols.recordings.trial_table import TrialTable, image_means
from protocols.stats.choice import ChoicePool
from protocols.stats.intervals import benjamini_hochberg, wilson_interval
from protocols.stats.joint import Run, joint_permutation_p
from protocols.stats.permutation import Pool
from protocols.stats.trials import correlation, reliability

from .beside import MONOTONIC_ALPHA
from .headline import expected_counts
from .records import ControlRow, ObjectiveSummary, SiteConsistency
from .scores import Setting


def summarise(
    setting: Setting, evaluated: Sequence[tuple[ControlRow, Pool | ChoicePool | None]], *, run: Run | None = None
) -> tuple[list[ControlRow], list[ObjectiveSummary]]:
    """Mark the Benjamini-Hochberg list of each objective and count over its confirmatory controllers.

    `run` shares the relabellings of the joint test out (`protocols.stats.joint`).
    """
    rows = [row for row, _ in evaluated]
    summaries = []
    for objective in dict.fromkeys(row.objective for row in rows):
        rows, counted = mark_listed(rows, objective), confirmatory_of(rows, objective)
        tested = [i for i in counted if is_tested(rows[i])]
        pools = [pool for i in tested if (pool := evaluated[i][1]) is not None]
        rule: dict[str, Any] = {"permutations": setting.permutations, "seed": setting.seed, "run": run}
        group = joint_permutation_p(pools, **rule) if pools else None
        summaries.append(_count(setting, objective, [rows[i] for i in counted], group_p=group))
    return rows, summaries


def is_tested(row: ControlRow) -> bool:
    """Whether the row has a verdict of a test."""
    return row.verdict in ("control", "no control")


def confirmatory_of(rows: Sequence[ControlRow], objective: str) -> list[int]:
    """Places of the confirmatory controllers of an objective."""
    return [i for i, row in enumerate(rows) if row.objective == objective and row.confirmatory]


def mark_listed(rows: Sequence[ControlRow], objective: str) -> list[ControlRow]:
    """The rows with the Benjamini-Hochberg list of one objective, made from the p of its tested controllers."""
    marked, tested = list(rows), [i for i in confirmatory_of(rows, objective) if is_tested(rows[i])]
    listed = benjamini_hochberg(np.array([rows[i].p for i in tested], dtype=float))
    for i, is_listed in zip(tested, listed, strict=True):
        marked[i] = replace(rows[i], bh=bool(is_listed))
    return marked


def verdict_counts(rows: Sequence[ControlRow]) -> dict[str, Any]:
    """The fields of `ObjectiveSummary` that count verdicts, over the confirmatory controllers of one objective."""
    tested = [r for r in rows if is_tested(r)]
    successes = sum(r.verdict == "control" for r in tested)
    low, high = wilson_interval(successes, len(tested))
    return {
        "tested": len(tested),
        "successes": successes,
        "low": low,
        "high": high,
        "listed": sum(bool(r.bh) for r in tested),
        "not_testable": sum(r.verdict == "not testable" for r in rows),
    }


def _count(setting: Setting, objective: str, rows: Sequence[ControlRow], *, group_p: float | None) -> ObjectiveSummary:
    tested = [r for r in rows if is_tested(r)]
    pseudo = [r.pseudo_p <= setting.alpha for r in tested if r.pseudo_p is not None]
    suppressed = [r.suppression for r in rows if r.suppression in ("suppression", "no suppression")]
    blank = [r.blank_p <= setting.alpha for r in tested if r.blank_p is not None]
    strict = [r.strict for r in tested if r.strict is not None]
    pseudo_low, pseudo_high = wilson_interval(sum(pseudo), len(pseudo))
    return ObjectiveSummary(
        objective=objective,
        **verdict_counts(rows),
        chance=setting.alpha,
        empirical_tested=len(pseudo),
        empirical_successes=sum(pseudo),
        empirical_low=pseudo_low,
        empirical_high=pseudo_high,
        group_p=group_p,
        strict=sum(strict),
        strict_tested=len(strict),
        suppressed=suppressed.count("suppression"),
        suppression_tested=len(suppressed),
        excluded=sum(r.verdict == "excluded" for r in rows),
        below_blank=sum(blank),
        below_blank_tested=len(blank),
        **_beside(setting, [r for r in rows if r.verdict != "excluded"]),
        **expected_counts(setting, tested),
    )


def _beside(setting: Setting, rows: Sequence[ControlRow]) -> dict[str, Any]:
    """What is counted beside the verdicts: control arms, contrast, monotonicity, specificity."""
    kinds = sorted({kind for r in rows for kind in r.arm_p})
    measured = [r for r in rows if r.contrast_exceeded is not None]
    names = [name for name in CONTRASTS if any(name in r.contrast for r in measured)]
    rising = [
        r.monotonic_rho is not None and r.monotonic_rho > 0 and r.monotonic_p <= MONOTONIC_ALPHA
        for r in rows
        if r.monotonic_p is not None
    ]
    shares = [r.other_site_share for r in rows if r.other_site_share is not None]
    return {
        "arms": {
            k: (len(p := [r.arm_p[k] for r in rows if k in r.arm_p]), sum(x <= setting.alpha for x in p)) for k in kinds
        },
        "contrast_measured": len(measured),
        "exceeded": {name: sum(name in (r.contrast_exceeded or "").split() for r in measured) for name in names},
        "monotonic": sum(rising),
        "monotonic_tested": len(rising),
        "other_site_share": float(np.median(shares)) if shares else None,
    }


def consistency(table: TrialTable, key: Key) -> list[SiteConsistency]:
    """Predicted against measured means, site by site; the reliability comes from natural and reference images alone."""
    groups = {
        role: sorted((r for r in key.of_role(role)), key=lambda r: r.image_id)
        for role in ("controller", "natural", "reference")
    }
    controllers = groups["controller"]
    images = [*controllers, *groups["natural"], *groups["reference"]]
    means = image_means(table, [r.image_id for r in images])
    by_image = [table.rows(r.image_id) for r in images[len(controllers) :]]
    rows = np.concatenate([np.empty(0, dtype=np.int64), *by_image])
    natural = np.repeat(np.arange(len(by_image)), [len(r) for r in by_image])
    sites = []
    for i, site in enumerate(table.site_ids):
        finite = np.isfinite(table.values[rows, i])
        ceiling = reliability(table.values[rows[finite], i], natural[finite])
        predicted = np.array([r.predicted.get(site, math.nan) for r in images])
        pairs = np.isfinite(predicted) & np.isfinite(means[:, i])
        r_controllers = correlation(predicted[: len(controllers)], means[: len(controllers), i])
        r_images = correlation(predicted, means[:, i])
        squares = [r**2 / ceiling if ceiling > 0.05 else math.nan for r in (r_controllers, r_images)]
        fields = finite_or_none(
            {
                "reliability": ceiling,
                "controllers_r": r_controllers,
                "controllers_r2": squares[0],
                "images_r": r_images,
                "images_r2": squares[1],
            }
        )
        sites.append(
            SiteConsistency(
                site=site, controllers=int(pairs[: len(controllers)].sum()), images=int(pairs.sum()), **fields
            )
        )
    return sites
