"""What stands beside a controller's verdict: control arms, specificity, contrast, monotonicity and chance.

None of this counts in a verdict; all of it is in the row of the controller.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from protocols.project.key import KeyRow, exceeded
from protocols.project.objectives import OBJECTIVES
from protocols.stats.permutation import spearman_test

from .reference import candidates_of, comparison_pool, enough, match_references, sides
from .scores import Exclusion, Score, Setting

MONOTONIC_ALPHA = 0.05
FEWEST_LEVELS = 5  # 4 levels cannot go below p = 1/24 and their ranks are mostly luck


def arm_comparisons(setting: Setting, score: Score, row: KeyRow, *, tested: bool = True) -> dict[str, Any]:
    """The controller against each of its control arms by the same test on all trials.

    Without `tested` there are differences alone.

    `arm_images`, `arm_scores` (mean response; one_hot: share S), `arm_differences` (of what is tested), `arm_p`: by
    kind of arm; no p where these trials could not have reached the level.
    """
    fields: dict[str, dict[str, Any]] = {name: {} for name in ("arm_images", "arm_scores", "arm_differences", "arm_p")}
    arms = [r for r in setting.key.rows if r.arm and row.source_id in r.parents]
    displayed = OBJECTIVES[row.objective].displayed
    for arm in sorted(arms, key=lambda r: (r.arm, r.image_id)):
        rows = setting.table.rows(arm.image_id, score.usable)
        if not len(rows) or arm.image_id == row.image_id:
            continue
        fields["arm_images"][arm.arm] = arm.image_id
        if not tested:
            mine = setting.table.rows(row.image_id, score.usable)
            fields["arm_scores"][arm.arm] = displayed(score.of(rows))
            fields["arm_differences"][arm.arm] = float(score.tested[mine].mean() - score.tested[rows].mean())
            continue
        pool = comparison_pool(setting, score, [row.image_id], reference=[arm.image_id])
        if not enough(pool):
            del fields["arm_images"][arm.arm]
            continue
        result = setting.test(pool, secondary=True)
        fields["arm_scores"][arm.arm] = displayed(score.of(sides(pool)[1]))
        fields["arm_differences"][arm.arm] = result.difference
        if result.smallest_p <= setting.alpha:
            fields["arm_p"][arm.arm] = result.p
    return fields


def specificity(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """The controller among the confirmatory ones of the same objective for other sites, all scored at this site.

    `other_site_images`: how many; `other_site_share`: share of them that score lower here; `other_site_score`: the
    highest of them.
    """
    others = [
        r.image_id
        for r in setting.key.of_role("controller")
        if r.confirmatory and r.objective == row.objective and r.target != row.target
    ]
    levels = [score.of(rows) for i in sorted(others) if len(rows := setting.table.rows(i, score.usable))]
    if not levels:
        return {"other_site_images": 0}
    own = score.of(setting.table.rows(row.image_id, score.usable))
    displayed = OBJECTIVES[row.objective].displayed
    return {
        "other_site_images": len(levels),
        "other_site_share": float(np.mean(np.array(levels) < own)),
        "other_site_score": displayed(max(levels)),
    }


def contrast_flags(row: KeyRow) -> dict[str, Any]:
    """The controller's contrasts and which lie above the photographs' 95th percentile; None where not measured."""
    above = exceeded(row.contrast)
    return {"contrast": dict(row.contrast), "contrast_exceeded": None if above is None else " ".join(above)}


def monotonicity(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """Does the score rise with the predicted score from natural references over graded images to the controller?

    Spearman correlation over images (methods: "monotonic") with a one-sided permutation p, exact for up to 7 images.
    Nothing where no graded image of the controller was shown, or where there are fewer than 5 images.
    """
    graded = [r.image_id for r in setting.key.of_role("graded") if row.source_id in r.parents and not r.level]
    if not graded:
        return {}
    natural, kind = candidates_of(setting, row)
    keyed = {r.image_id: r for r in setting.key.rows}
    images = [*(natural if kind == "re-shown" else ()), *sorted(graded), row.image_id]
    pairs = []
    for image in images:
        rows, predicted = (
            setting.table.rows(image, score.usable),
            predicted_score(setting, score, row, image=keyed[image]),
        )
        if len(rows) and predicted is not None:
            pairs.append((predicted, score.of(rows)))
    if len(pairs) < FEWEST_LEVELS:
        return {"monotonic_images": len(pairs)}
    predictions, measured = np.array(pairs).T
    rho, p = spearman_test(predictions, measured, permutations=setting.permutations, seed=setting.seed)
    return {"monotonic_images": len(pairs), "monotonic_rho": rho, "monotonic_p": p}


def predicted_score(setting: Setting, score: Score, row: KeyRow, *, image: KeyRow) -> float | None:
    """Score of the predicted responses to `image`, for the objective and site of `row`.

    None where a prediction is missing.
    """
    all_sites = OBJECTIVES[row.objective].all_sites
    sites = setting.scale.site_ids if all_sites else (row.target,)
    predicted = np.array([image.predicted.get(s, math.nan) for s in sites])
    if all_sites:
        predicted = (predicted - setting.scale.mean) / setting.scale.sd
    return score.level(predicted) if np.isfinite(predicted).all() else None


def pseudo_controller(setting: Setting, score: Score, row: KeyRow) -> str | None:
    """The photograph of this round that prediction would have chosen as controller, without synthesis.

    Controllers are chosen among seeds by the validator, so the pseudo-controller is too; by the encoder where the key
    holds no validator's predictions. All photographs that were shown compete, the best natural images of this and of
    every other site among them: random photographs alone would hardly ever beat the best one. A single reference of the
    site is what the pseudo-controller is compared with, so that it does not compete.
    """
    own, _ = candidates_of(setting, row)
    photographs = setting.photographs
    shown = photographs.shown(score.usable)
    if len(own) == 1 and own[0] in photographs.image_ids:
        shown[photographs.image_ids.index(own[0])] = False
    all_sites = OBJECTIVES[row.objective].all_sites
    sites = setting.scale.site_ids if all_sites else (row.target,)
    columns = [photographs.site_ids.index(s) for s in sites]
    for predictions in (photographs.validator_predicted, photographs.predicted):
        predicted = predictions[:, columns]
        if all_sites:
            predicted = (predicted - setting.scale.mean) / setting.scale.sd
        known = np.flatnonzero(shown & np.isfinite(predicted).all(1))
        if len(known):
            return photographs.image_ids[int(known[score.levels(predicted[known]).argmax()])]
    return None


def empirical_chance(setting: Setting, score: Score, row: KeyRow) -> dict[str, Any]:
    """The pseudo-controller in the same test.

    Where it is one of several natural references, the others remain; nothing where no other photograph was shown.
    """
    pseudo = pseudo_controller(setting, score, row)
    if pseudo is None:
        return {}
    try:
        reference = match_references(setting, score, row, image_id=pseudo, without=pseudo)
    except Exclusion:
        return {}
    result = setting.test(reference.pool)
    return {"pseudo_image": pseudo, "pseudo_p": result.p} if result.smallest_p <= setting.alpha else {}
