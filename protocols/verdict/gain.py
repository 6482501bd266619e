"""How large an effect is: gains over the reference, selectivity, suppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.recordings.units import UNITS
from protocols.stats.intervals import fieller_interval, welch_p
from protocols.stats.permutation import (
    Pool,
    difference_interval,
    log_share,
    mean_difference,
)

from .reference import comparison_pool, enough, sides
from .scores import Score, Setting

# --- gain -------------------------------------------------------------------------------------------------------------


def blank_trials(setting: Setting, site: str) -> Floats:
    """Responses of a site to blanks; without blank images, its pre-stimulus baseline; else empty."""
    table, column = setting.table, setting.table.column(site)
    rows = table.rows_of(sorted(r.image_id for r in setting.key.of_role("blank")), np.isfinite(column))
    if len(rows) or table.baseline is None:
        return column[rows]
    baseline = table.baseline[:, table.site_ids.index(site)]
    return baseline[np.isfinite(baseline)]


def selectivity(setting: Setting, score: Score, site: str, *, treated: Ints) -> dict[str, Any]:
    """Margin over the strongest other site, and S without it, from mean standardised responses over `treated` rows."""
    target = setting.scale.site_ids.index(site)
    mean = score.values[treated].mean(0)
    others = np.delete(mean, target)
    kept = np.delete(np.sort(others), -1)
    without = np.append(kept, mean[target]) / setting.temperature
    return {
        "margin": float(mean[target] - others.max()),
        "score_without_worst": float(np.exp(log_share(without, -1))),
    }


def stretch_gain(setting: Setting, pool: Pool, site: str, *, blank: Floats) -> dict[str, Any]:
    """Gain over the named reference image: a fraction of its evoked response, else the difference in natural SDs."""
    column = setting.table.column(site)
    treated, other = (column[rows] for rows in sides(pool))
    few = _few(pool)
    if not UNITS[setting.unit].zero:
        note = _joined(f"no percentage for unit {setting.unit}", few)
        return {**_difference_in_sd(setting, pool, site), "gain_note": note}
    if len(blank) < 2 or welch_p(other, blank) >= 0.05:
        why = "no blanks" if len(blank) < 2 else "blank not significantly below the reference"
        return {**_difference_in_sd(setting, pool, site), "gain_note": _joined(f"no percentage: {why}", few)}
    ratio = fieller_interval(treated, other, blank)
    note = _joined(few, "" if ratio.bounded else "interval unbounded")
    return {
        "gain": ratio.ratio - 1,
        "gain_low": ratio.low - 1,
        "gain_high": ratio.high - 1,
        "gain_unit": "fraction",
        "gain_note": note,
    }


def _difference_in_sd(setting: Setting, pool: Pool, site: str) -> dict[str, Any]:
    if site not in setting.scale.site_ids:
        return {"gain_unit": ""}
    sd = float(setting.scale.sd[setting.scale.site_ids.index(site)])
    low, high = difference_interval(pool.values, pool.strata)
    difference = float(np.subtract(*(setting.table.column(site)[rows].mean() for rows in sides(pool))))
    return {"gain": difference / sd, "gain_low": low / sd, "gain_high": high / sd, "gain_unit": "natural SD"}


def one_hot_gain(pool: Pool, difference: float) -> dict[str, Any]:
    """Difference of log S with its delta-method interval."""
    low, high = difference_interval(pool.values, pool.strata, statistic=pool.statistic)
    return {"gain": difference, "gain_low": low, "gain_high": high, "gain_unit": "log S", "gain_note": _few(pool)}


def _few(pool: Pool) -> str:
    """The note of a gain whose interval is not calibrated: fewer than ten trials on one side."""
    least = min(len(rows) for rows in sides(pool))
    return f"fewer than 10 repeats ({least})" if least < 10 else ""


def _joined(*notes: str) -> str:
    return ", ".join(filter(None, notes))


def suppression(setting: Setting, score: Score, site: str, *, image_id: str) -> dict[str, Any]:
    """Is mean off-target activity below that of this round's random natural images? The same one-sided test."""
    off = np.delete(score.values, setting.scale.site_ids.index(site), axis=1).mean(1, keepdims=True)
    key, table = setting.key, setting.table
    naturals = sorted(r.image_id for r in key.of_role("natural") if r.image_id in table.image_rows)
    blanks = table.rows_of(sorted(r.image_id for r in key.of_role("blank")), score.usable)
    mine = table.rows(image_id, score.usable)
    fields = {"off_target": float(off[mine].mean()), "off_target_blank": _mean(off[blanks])}
    lower = Score(-off, score.usable, lambda mean: float(mean[0]), mean_difference, equal_counts=False)
    if not naturals or not enough(pool := comparison_pool(setting, lower, [image_id], reference=naturals, half=None)):
        return {**fields, "suppression": "not testable"}
    result = setting.test(pool)
    verdict = "suppression" if result.p <= setting.alpha else "no suppression"
    if result.smallest_p > setting.alpha:
        verdict = "not testable"
    natural = _mean(off[sides(pool)[1]])
    return {
        **fields,
        "off_target_natural": natural,
        "suppression": verdict,
        "suppression_t": result.t,
        "suppression_p": result.p,
    }


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None
