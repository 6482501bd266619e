"""The regression check: old and new encoder predict the same held-out photographs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from encoders.fitting.predict import predict_stored
from encoders.splits import resembling
from protocols.arrays import Bools
from protocols.errors import DataError
from protocols.project.folder import Project
from protocols.recordings.dataset import Dataset

from .change import MINIMUM_IMAGES, Change, paired_change, score_name, site_scores
from .fit import held_out_of
from .pair import Predictor, Record, load_encoder


def regression_check(
    project: Project,
    before: Record,
    after: tuple[Predictor, Predictor],
    *,
    data: Dataset,
    held_out: Bools,
    judge: Callable[..., Change] = paired_change,
    device: str = "cpu",
) -> Record:
    """Old and new encoder and validator on the frozen held-out photographs and their baseline trials; JSON-able, see
    docs/refit.md.

    Parameters
    ----------
    before : dict
        Record of the pair that serves.
    after : tuple of two encoders
        The new encoder and the new validator.
    data, held_out : Dataset, bool array of shape (N,)
        Of the new fit.
    judge : callable
        `paired_change`, or `paired_error_change`, which sees gain and offset.
    """
    tolerance = project.config.refit.tolerance
    chosen, duplicates = yardstick(project, before, data, held_out=held_out)
    about = {"tolerance": tolerance, "images": len(chosen), "near_duplicates_left_out": duplicates}
    if len(chosen) < MINIMUM_IMAGES:
        reason = f"{len(chosen)} held-out photographs with baseline trials; expected at least {MINIMUM_IMAGES}"
        return {"verdict": "unchecked", "reason": reason} | about
    changes, unknown = {}, []
    for name, new in zip(("encoder", "validator"), after, strict=True):
        old = load_encoder(project, before[name])
        if not set(old.site_ids) & set(new.site_ids):
            unknown.append(f"{name}: none of the {len(new.site_ids)} sites is one of the old {name}'s")
            continue
        changes[name] = changed(project, old, new, data=data, chosen=chosen, device=device, judge=judge)
        if not changes[name].measured:
            unknown.append(f"{name}: no site has enough baseline trials to measure the change of {changes[name].score}")
    worse = [change.sentence(name) for name, change in changes.items() if change.worse(tolerance)]
    verdict = "refused" if worse else "unchecked" if unknown else "accepted"
    scores = {name: change.to_dict() for name, change in changes.items()}
    return {"verdict": verdict, "reason": "; ".join(worse or unknown)} | about | scores


def yardstick(
    project: Project, before: Record, data: Dataset, *, held_out: Bools | None = None
) -> tuple[list[int], int]:
    """Held-out photographs with baseline trials that neither pair was fitted to, and how many more resemble a fitted
    image.

    `held_out` (N,): what the new fit holds out; default: by project.toml.

    Raises
    ------
    DataError
        T01: a photograph that the old pair held out is fitted now.
    """
    held_out = held_out_of(project, data) if held_out is None else held_out
    frozen = before.get("held_out")
    if frozen is None:  # written before records named them
        frozen = [data.source_ids[i] for i in before["report"]["held_out_images"] if i < data.natural]
    position = {source: i for i, source in enumerate(data.source_ids[: data.natural])}
    now_fitted = [source for source in frozen if source not in position or not held_out[position[source]]]
    if now_fitted:
        raise DataError(
            str(project.folder / "project.toml"),
            found=(
                f"{len(now_fitted)} photographs that the last fit held out and this one would not "
                f"({', '.join(now_fitted[:5])})"
            ),
            expected="the same held-out photographs in every refit",
            cause="[encoder] holdout_fraction or seed was changed between rounds, or photographs or their groups were",
            fix=(
                "put them back as they were; if nothing was changed, the project was fitted before near duplicates "
                "were joined: set [encoder] join_near_duplicates = false"
            ),
            code="T01",
        )
    recorded = np.zeros(len(data.pixels), dtype=bool)
    recorded[data.image_index[(data.image_index >= 0) & (data.trial_rounds == 0)]] = True
    held = [position[source] for source in frozen if recorded[position[source]]]
    similar = resembling(data.pixels[held], data.pixels[~held_out])
    return [i for i, twin in zip(held, similar, strict=True) if not twin], int(similar.sum())


def changed(
    project: Project,
    old: Predictor,
    new: Predictor,
    *,
    data: Dataset,
    chosen: list[int],
    device: str,
    judge: Callable[..., Change],
) -> Change:
    """Paired change from `old` to `new` on the photographs `chosen`, sites of both (one at least), baseline trials."""
    sites = tuple(s for s in old.site_ids if s in new.site_ids)
    before, after = (
        _predicted(project, encoder, data, chosen=chosen, sites=sites, device=device) for encoder in (old, new)
    )
    averages = data.averaged_over is not None
    values, image_index = _baseline(data, chosen, sites)
    return judge(before, after, values, image_index=image_index, site_ids=sites, averages=averages)


def natural_scores(
    project: Project, encoder: Predictor, data: Dataset, *, chosen: list[int], device: str
) -> tuple[str, NDArray[np.float64]]:
    """Name of the score, and every site's, on the photographs `chosen` and their baseline trials."""
    predicted = _predicted(project, encoder, data, chosen=chosen, sites=encoder.site_ids, device=device)
    averages = data.averaged_over is not None
    (found,) = site_scores([predicted], *_baseline(data, chosen, encoder.site_ids), averages=averages)
    return score_name(averages), found


def _predicted(
    project: Project, encoder: Predictor, data: Dataset, *, chosen: list[int], sites: tuple[str, ...], device: str
) -> NDArray[np.float64]:
    answers = predict_stored(encoder, data.pixels[chosen], project.cache, device=device).mean(0).double().numpy()
    return np.asarray(answers[:, [encoder.site_ids.index(s) for s in sites]])


def _baseline(
    data: Dataset, chosen: list[int], sites: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Baseline trials (T, U) of `sites`, and the place in `chosen` of the image of each, -1 = none, (T,)."""
    number = np.full(len(data.pixels), -1)
    number[chosen] = np.arange(len(chosen))
    rows = (data.trial_rounds == 0) & (data.image_index >= 0)
    return data.values[rows][:, [data.site_ids.index(s) for s in sites]], number[data.image_index[rows]]
