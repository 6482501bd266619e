"""How large an effect is: gains over the reference, selectivity, suppression; how low a site was driven.

A unit that cannot be negative has a floor: no controller can take more than the reference evokes. What stands here of
`suppress` says how much that is, and what a controller that silences the site would have given with these trials.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from protocols.arrays import Floats, Ints
from protocols.project.key import KeyRow
from protocols.recordings.units import UNITS
from protocols.stats.choice import ChoicePool
from protocols.stats.intervals import contrast_interval, fieller_interval, welch_p
from protocols.stats.permutation import Pool
from protocols.stats.selectivity import effective_number, log_share

from .reference import Reference, comparison_pool, enough, sides
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


def difference_interval(score: Score, reference: Reference) -> dict[str, float]:
    """The 95 % interval of the difference that is tested (Welch; the tested halves are independent samples)."""
    low, high = contrast_interval(contrast_parts(score.tested, reference))
    return {"difference_low": low, "difference_high": high}


def contrast_parts(values: Floats, reference: Reference) -> list[tuple[float, Floats]]:
    """The samples of the contrast, values (T,) of controller and tested parts, with their weights."""
    share = -1 / len(reference.parts)
    return [(1.0, values[reference.treated]), *((share, values[rows]) for rows in reference.parts)]


def stretch_gain(setting: Setting, reference: Reference, site: str, *, blank: Floats) -> dict[str, Any]:
    """Gain over the picked reference: a fraction of its evoked response, else the difference in natural SDs."""
    column = setting.table.column(site)
    treated, other = column[reference.treated], [column[rows] for rows in reference.parts]
    few = few_repeats(reference)
    if not UNITS[setting.unit].zero:
        note = _joined(f"no percentage for unit {setting.unit}", few)
        return {**_difference_in_sd(setting, column, reference, site=site), "gain_note": note}
    if len(blank) < 2 or welch_p(np.concatenate(other), blank) >= 0.05:
        why = "no blanks" if len(blank) < 2 else "blank not significantly below the reference"
        note = _joined(f"no percentage: {why}", few)
        return {**_difference_in_sd(setting, column, reference, site=site), "gain_note": note}
    ratio = fieller_interval(treated, other, blank)
    note = _joined(few, "" if ratio.bounded else "interval unbounded")
    return {
        "gain": ratio.ratio - 1,
        "gain_low": ratio.low - 1,
        "gain_high": ratio.high - 1,
        "gain_unit": "fraction",
        "gain_note": note,
    }


def _difference_in_sd(setting: Setting, values: Floats, reference: Reference, *, site: str) -> dict[str, Any]:
    """Difference of `values` (T,) to the picked reference in the natural SDs of the site; no unit where it has none."""
    if site not in setting.scale.site_ids:
        return {"gain_unit": ""}
    sd = float(setting.scale.sd[setting.scale.site_ids.index(site)])
    parts = contrast_parts(values, reference)
    difference = sum(weight * float(x.mean()) for weight, x in parts)
    low, high = contrast_interval(parts)
    return {"gain": difference / sd, "gain_low": low / sd, "gain_high": high / sd, "gain_unit": "natural SD"}


def one_hot_gain(setting: Setting, score: Score, reference: Reference, *, site: str) -> dict[str, Any]:
    """Difference of log S with its delta-method interval, and what the tested contrast is made of.

    A trial z of the image with mean m and shares S contributes ``(z_target - sum_j S_j z_j) / temperature``.
    """
    target = setting.scale.site_ids.index(site)
    groups: dict[str, list[Ints]] = {}
    for image, rows in zip(reference.picked, reference.parts, strict=True):
        groups.setdefault(image, []).append(rows)
    share, linear = -1 / len(reference.parts), []
    for weight, parts in [(1.0, [reference.treated]), *((share, parts) for parts in groups.values())]:
        mean = np.mean([score.values[rows].mean(0) for rows in parts], axis=0) / setting.temperature
        slope = -np.exp(mean - np.logaddexp.reduce(mean))
        slope[target] += 1
        linear += [(weight, score.values[rows] @ slope / setting.temperature) for rows in parts]
    low, high = contrast_interval(linear)
    difference = score.of(reference.treated) - reference.level(score)
    off = difference - sum(weight * float(x.mean()) for weight, x in linear)  # the interval is of the linear part
    fields = {"gain": difference, "gain_low": low + off, "gain_high": high + off, "gain_unit": "log S"}
    used = np.ones(1) if score.weights is None else score.weights
    return {
        **fields,
        "gain_note": _joined(few_repeats(reference), score.note),
        "selectivity": float(score.tested[reference.treated].mean()),
        "selectivity_reference": float(reference.mean(score.tested)),
        "selectivity_sites": effective_number(used),
    }


def few_repeats(reference: Reference) -> str:
    """The note of a gain whose interval is not calibrated: fewer than ten trials on one side."""
    least = min(len(reference.treated), reference.trials)
    return f"fewer than 10 repeats ({least})" if least < 10 else ""


def _joined(*notes: str) -> str:
    return ", ".join(filter(None, notes))


def suppression(setting: Setting, score: Score, site: str, *, image_id: str) -> dict[str, Any]:
    """Is mean off-target activity below that of this round's random natural images? The same one-sided test."""
    key, table = setting.key, setting.table
    naturals = sorted(r.image_id for r in key.of_role("natural") if r.image_id in table.image_rows)
    blanks = table.rows_of(sorted(r.image_id for r in key.of_role("blank")), score.usable)
    mine = table.rows(image_id, score.usable)
    needed = np.concatenate([mine, blanks, table.rows_of(naturals, score.usable)])
    off = np.full((len(score.values), 1), np.nan)  # of the trials that are compared: there are many others
    others = np.delete(np.arange(score.values.shape[1]), setting.scale.site_ids.index(site))
    by_site = np.asfortranarray(score.values[needed][:, others])  # summed site by site, whatever trials are asked for
    off[needed] = by_site.mean(1, keepdims=True)
    fields = {"off_target": float(off[mine].mean()), "off_target_blank": _mean(off[blanks])}
    lower = Score(-off, score.usable, lambda mean: mean[..., 0], -off[:, 0])
    if not naturals or not enough(pool := comparison_pool(setting, lower, [image_id], reference=naturals)):
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


# --- how low a site was driven ----------------------------------------------------------------------------------------


def suppress_gain(setting: Setting, score: Score, reference: Reference, *, site: str) -> dict[str, Any]:
    """How far below the picked reference, in natural SDs: a percentage of a response near zero would mean nothing.

    `room` and `silent_p` are told where the unit cannot be negative.
    """
    fields = _difference_in_sd(setting, score.tested, reference, site=site)
    fields["gain_note"] = _joined("" if fields["gain_unit"] else "no natural SD", few_repeats(reference))
    if not UNITS[setting.unit].negative:
        silence = setting.table.silence(site)
        silent = setting.test(silenced(reference.pool, -silence), secondary=True)
        fields |= {"room": float(reference.mean(setting.table.column(site) - silence)), "silent_p": silent.p}
    return fields


def silenced(pool: Pool | ChoicePool, silence: Floats) -> Pool | ChoicePool:
    """The trials of a test, the controller's with the values `silence` (T,): those of a site that fell silent."""
    if isinstance(pool, ChoicePool):
        mine = np.concatenate([np.repeat(np.arange(len(b)) == len(b) - 1, b) for b in pool.slots])
    else:
        mine = np.concatenate([np.repeat([False, True], counts) for counts in pool.strata])
    return pool._replace(values=np.where(mine, silence[pool.rows], pool.values))


def below_blank(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """Is the response below that to the blank? Difference, its interval and the same one-sided test.

    Nothing where no blank was shown often enough; no p where these trials could not have reached the level.
    """
    blanks = sorted(r.image_id for r in setting.key.of_role("blank") if r.image_id in setting.table.image_rows)
    if not blanks or not enough(pool := comparison_pool(setting, score, [row.image_id], reference=blanks)):
        return {}
    treated, other = (score.tested[rows] for rows in sides(pool))
    low, high = contrast_interval([(1.0, treated), (-1.0, other)])
    result = setting.test(pool, secondary=True)
    fields = {"blank_difference": float(treated.mean() - other.mean()), "blank_low": low, "blank_high": high}
    return fields if result.smallest_p > setting.alpha else {**fields, "blank_p": result.p}


def reason_of_ties(smallest: float, room: float | None, unit: str) -> str:
    """Why the recorded values have no p below `smallest`, whatever their labels; `room`: None where there is no
    floor.
    """
    if room is None:
        return f"the recorded responses tie: p could not fall below {smallest:.3g}"
    return f"{_no_room(room, unit)}, and p could not fall below {smallest:.3g} with so few"


def reason_of_null(silent_p: float | None, room: float | None, *, unit: str, alpha: float) -> str:
    """What the floor of the unit says of "no control": that silence would not have been found; "" where it would."""
    if room is None or silent_p is None or silent_p <= alpha:
        return ""
    return f"{_no_room(room, unit)}, and silence would have had p {silent_p:.3g}"


def _no_room(room: float, unit: str) -> str:
    return f"no room below the reference: it evokes {room:.3g} {unit}"
