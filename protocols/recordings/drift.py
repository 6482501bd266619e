"""Drift of a round against the baseline, site by site: gain and offset, alignment, drift within the day.

Written as ``drift.json`` (schema ``drift/1``) beside a round's responses once its key is open.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from protocols.arrays import Bools, Floats
from protocols.disk.files import finite_or_none, read_json, write_json
from protocols.progress import counted
from protocols.project.key import Key
from protocols.stats.gain import FEWEST_IMAGES, Alignment, DayDrift, GainFit, drift_within, fit_gain, ratio_gain, shrink
from protocols.stats.identity import Identity, Means, identify
from protocols.stats.intervals import benjamini_hochberg
from protocols.stats.trials import sums_per_image

from .responses import Responses
from .trial_table import block_codes, remove_block_means
from .units import UNITS

SCHEMA = "drift/1"
BLANK = ""  # source id of a blank
EXCLUDED = ("lost", "moved", "split")  # outcomes on evidence; "no evidence" excludes no site


@dataclass(frozen=True)
class Tuning:
    """Mean responses of a recording to some images, block means removed.

    Attributes
    ----------
    images : tuple of N str
        Source ids; "" = the blank.
    site_ids : tuple of U str
    means, repeats : arrays of shape (N, U)
        Mean response and number of trials.
    each : array of shape (N, U)
        Trial variance of every image, NaN below two trials.
    variance : array of shape (U,)
        Trial variance pooled over images, NaN where no image has two trials (averages).
    """

    images: tuple[str, ...]
    site_ids: tuple[str, ...]
    means: Floats
    repeats: Floats
    each: Floats
    variance: Floats


def tuning(
    responses: Responses, source_of: Mapping[str, str], images: Sequence[str], *, sites: Sequence[str]
) -> Tuning:
    """Means over the usable trials that showed one of `images` (source ids; "" = the blank), for `sites`."""
    usable = responses.usable().sites(tuple(sites))
    position = {image: i for i, image in enumerate(images)}
    index = np.array([position.get(source_of.get(str(i), "?"), -1) for i in usable.image_ids], dtype=np.int64)
    values = remove_block_means(usable.values, block_codes(usable))
    weights = None if usable.averaged_over is None else usable.averaged_over.astype(float)
    sums, repeats = sums_per_image(values, index, len(images), weights=weights)
    means = np.divide(sums, repeats, out=np.full_like(sums, np.nan), where=repeats > 0)
    residual = values[index >= 0] - means[index[index >= 0]]
    squares, _ = sums_per_image(residual**2, index[index >= 0], len(images))
    freedom = np.maximum(repeats - 1, 0.0) if usable.averaged_over is None else np.zeros_like(repeats)
    each = np.divide(squares, freedom, out=np.full_like(sums, np.nan), where=freedom > 0)
    total = freedom.sum(0)
    pooled = np.divide((squares * (freedom > 0)).sum(0), total, out=np.full(len(total), np.nan), where=total > 0)
    return Tuning(images=tuple(images), site_ids=tuple(sites), means=means, repeats=repeats, each=each, variance=pooled)


@dataclass(frozen=True)
class SiteDrift:
    """One site of a round; None = not available.

    Attributes
    ----------
    site : str
    gain, gain_low, gain_high, offset, shift, shift_error, misfit, method
        As in `GainFit`.
    images : int
        Images shown in the baseline and now that were not chosen as references of this site.
    told : bool
        The limits of the gain are finite and at most a factor of 4 apart.
    aligned_gain, aligned_shift, centre : float
        Shrunken values with which rounds are joined, ``aligned = centre + (response - centre - aligned_shift) /
        aligned_gain``; centre None: the site is left as it is.
    within_change : float
        Linear drift over this recording, in % of the mean response or in SDs of the image means (`RoundDrift.percent`).
    within_p : float
        Its two-sided p.
    within_listed : bool
        On the Benjamini-Hochberg list over sites (q 0.05).
    outcome, reason, r, r_nc, p_below, p_shuffled, p_other, partner, partner_r_nc, p_partner
        As in `Identity`.
    """

    site: str
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    offset: float | None = None
    shift: float | None = None
    shift_error: float | None = None
    misfit: float | None = None
    images: int = 0
    method: str = ""
    told: bool = False
    aligned_gain: float = 1.0
    aligned_shift: float = 0.0
    centre: float | None = None
    within_change: float | None = None
    within_p: float | None = None
    within_listed: bool = False
    outcome: str = "no evidence"
    reason: str = ""
    r: float | None = None
    r_nc: float | None = None
    p_below: float | None = None
    p_shuffled: float | None = None
    p_other: float | None = None
    partner: str = ""
    partner_r_nc: float | None = None
    p_partner: float | None = None


@dataclass(frozen=True)
class RoundDrift:
    """Everything known about the drift of one round.

    Attributes
    ----------
    unit : str
        Of the responses.
    percent : bool
        Drift within the day is in % of the mean response; False: in SDs of the image means.
    sites : tuple of SiteDrift
    gain_sd, shift_sd : float
        Estimated SDs over sites of log gain and of shift / spread (0: no drift between the days beyond errors).
    block_residual : (blocks, sites) floats
        Mean residual of each block, None = no trial.
    notes : tuple of str
    inputs : dict of name to str
        SHA-256 of the files that were compared.
    """

    unit: str
    percent: bool
    sites: tuple[SiteDrift, ...]
    gain_sd: float = 0.0
    shift_sd: float = 0.0
    block_residual: tuple[tuple[float | None, ...], ...] = ()
    notes: tuple[str, ...] = ()
    inputs: dict[str, str] = field(default_factory=dict)

    @property
    def site_ids(self) -> tuple[str, ...]:
        """The sites, in the order of `sites`."""
        return tuple(s.site for s in self.sites)

    @property
    def excluded(self) -> dict[str, str]:
        """Sites that are lost, or another site today, with the reason."""
        return {s.site: f"{s.outcome}: {s.reason}" for s in self.sites if s.outcome in EXCLUDED}

    def align(self, values: Floats, site_ids: Sequence[str]) -> Floats:
        """Responses (T, U) of this round on the baseline's scale; sites that are not known here stay as they are."""
        known = {s.site: s for s in self.sites}
        rows = [known.get(site, SiteDrift(site)) for site in site_ids]
        gain, shift = np.array([r.aligned_gain for r in rows]), np.array([r.aligned_shift for r in rows])
        centre = np.array([math.nan if r.centre is None else r.centre for r in rows])
        return Alignment(gain=gain, shift=shift, centre=centre, gain_sd=self.gain_sd, shift_sd=self.shift_sd).apply(
            values
        )

    def applied(self) -> dict[str, dict[str, float]]:
        """Gain and shift used in pooling, of the sites that are aligned."""
        return {
            s.site: {"gain": s.aligned_gain, "shift": s.aligned_shift, "centre": s.centre}
            for s in self.sites
            if s.centre is not None
        }

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"schema": SCHEMA, **asdict(self)}

    def to_json(self, path: Path) -> None:
        """Write the record."""
        write_json(path, self.to_dict())

    @staticmethod
    def from_json(path: Path) -> RoundDrift | None:
        """The record at `path`; None where there is none, or one of another version (it is then measured anew)."""
        data = read_json(path) if path.is_file() else None
        if not isinstance(data, dict) or data.pop("schema", None) != SCHEMA:
            return None
        try:
            data["sites"] = tuple(SiteDrift(**s) for s in data["sites"])
            data["block_residual"] = tuple(tuple(row) for row in data["block_residual"])
            data["notes"] = tuple(data["notes"])
            return RoundDrift(**data)
        except (KeyError, TypeError):
            return None


def measure_drift(first: Responses, source_of: Mapping[str, str], now: Responses, *, key: Key) -> RoundDrift:
    """Compare a round with the baseline on the images shown in both.

    Parameters
    ----------
    first : Responses
        The baseline; `source_of` maps its image ids to source ids ("" = blank).
    now, key : Responses, Key
        The round.
    """
    sites = tuple(s for s in now.site_ids if s in first.site_ids)
    before, after, own = _common_images(first, source_of, now, key=key, sites=sites)
    columns = range(len(sites))
    fits, surely = [], []
    for u in counted(columns, "drift of sites"):
        fits.append(site_gain(before, after, u, own=own[:, u], unit=now.unit))
        surely.append(site_gain(before, after, u, own=own[:, u], unit=now.unit, confidence=0.98))
    highest = np.array([f.high if f.method == "regression" else math.inf for f in surely])
    identities = site_identities(before, after, own, highest_gain=highest)
    alignment = shrink(fits, np.array([i.outcome not in EXCLUDED for i in identities], dtype=np.bool_))
    day = within_round(now.sites(sites), key)
    listed = benjamini_hochberg(day.p)
    rows = tuple(
        _site_drift(fits[u], identities[u], u, alignment=alignment, day=day, listed=bool(listed[u])) for u in columns
    )
    return RoundDrift(
        unit=now.unit,
        percent=day.percent,
        sites=rows,
        gain_sd=alignment.gain_sd,
        shift_sd=alignment.shift_sd,
        block_residual=tuple(tuple(float(v) if math.isfinite(v) else None for v in row) for row in day.block_residual),
        notes=tuple(notes_on(rows, before, after)),
    )


def _common_images(
    first: Responses, source_of: Mapping[str, str], now: Responses, *, key: Key, sites: tuple[str, ...]
) -> tuple[Tuning, Tuning, Bools]:
    """Tuning in the baseline and now over the images shown in both, and which are references of a site, (N, U)."""
    in_baseline = {source_of.get(str(i)) for i in first.image_ids}
    rows = {
        r.source_id if r.role != "blank" else BLANK: r for r in key.rows if r.role in ("reference", "natural", "blank")
    }
    images = [source for source in sorted(rows) if source in in_baseline]
    here = {r.image_id: source for source, r in rows.items()}
    own = np.array([[s in {t for _, t in rows[i].reference_for} for s in sites] for i in images], dtype=np.bool_)
    before, after = tuning(first, source_of, images, sites=sites), tuning(now, here, images, sites=sites)
    return before, after, own.reshape(len(images), len(sites))


def _site_drift(
    fit: GainFit, identity: Identity, u: int, *, alignment: Alignment, day: DayDrift, listed: bool
) -> SiteDrift:
    """The row of site `u`; numbers that are not known are None."""
    measured = {
        "gain": fit.gain,
        "gain_low": fit.low,
        "gain_high": fit.high,
        "offset": fit.offset,
        "shift": fit.shift,
        "shift_error": fit.shift_error,
        "misfit": fit.misfit,
    }
    others = {
        "centre": float(alignment.centre[u]),
        "within_change": float(day.change[u]),
        "within_p": float(day.p[u]),
    }
    return SiteDrift(
        **finite_or_none(others | (measured if fit.method else {})),
        images=fit.images,
        method=fit.method,
        told=fit.told,
        aligned_gain=float(alignment.gain[u]),
        aligned_shift=float(alignment.shift[u]),
        within_listed=listed,
        **finite_or_none(asdict(identity)),
    )


def site_identities(before: Tuning, after: Tuning, own: Bools, *, highest_gain: Floats) -> list[Identity]:
    """`identify` on the common natural and reference images.

    The trial variance of this round stands in for that of a baseline without trials.
    """
    picture = np.array([image != BLANK for image in before.images], dtype=np.bool_)
    borrowed = np.where(np.isfinite(before.variance), before.variance, after.variance)
    means = []
    for table, pooled in ((before, borrowed), (after, after.variance)):
        each = np.where(np.isfinite(table.each), table.each, pooled)
        error = np.divide(each, table.repeats, out=np.full_like(each, np.nan), where=table.repeats > 0)
        means.append(Means(table.site_ids, table.means[picture], error[picture]))
    return identify(means[0], means[1], own[picture], highest_gain=highest_gain)


def site_gain(before: Tuning, after: Tuning, u: int, *, own: Bools, unit: str, confidence: float = 0.95) -> GainFit:
    """Gain and offset of site `u` from the images that were not chosen for its own noisy baseline (`own`, (N,)).

    Too few of them: the gain alone, through the blank or, where the unit has a zero, through zero. A baseline without
    trials takes this round's trial variance; nothing is known of a round without trials.
    """
    blank = np.array([image == BLANK for image in before.images], dtype=np.bool_)
    use = np.isfinite(before.means[:, u]) & np.isfinite(after.means[:, u]) & ~own
    x, y = before.means[use, u], after.means[use, u]
    y_trial = after.variance[u]
    x_trial = before.variance[u] if np.isfinite(before.variance[u]) else y_trial
    if not np.isfinite(y_trial):
        return GainFit(images=int((use & ~blank).sum()))
    nx, ny = before.repeats[use, u], after.repeats[use, u]
    each = (np.where(np.isfinite(v), v, t) for v, t in ((before.each[use, u], x_trial), (after.each[use, u], y_trial)))
    each_x, each_y = each
    picture = ~blank[use]
    n = int(picture.sum())
    if n >= FEWEST_IMAGES:
        fit = fit_gain(
            x, y, x_trial / nx, y_variance=y_trial / ny, each=(each_x / nx, each_y / ny), confidence=confidence
        )
        return replace(fit, images=n)
    plain = None
    if not picture.all():
        b = int(np.flatnonzero(~picture)[0])
        plain = (float(x[b]), float(y[b]), float(each_x[b] / nx[b]), float(each_y[b] / ny[b]))
    if plain is None and not UNITS[unit].zero:
        return GainFit(images=n)
    return ratio_gain(x[picture], y[picture], (each_x / nx)[picture], y_variance=(each_y / ny)[picture], blank=plain)


def within_round(now: Responses, key: Key) -> DayDrift:
    """Drift within the round, from its natural and reference images; time is the onset, else the block."""
    usable = now.usable()
    images = sorted(r.image_id for r in key.rows if r.role in ("reference", "natural"))
    blocks = block_codes(usable)
    time = usable.onset_s if usable.onset_s is not None else blocks.astype(float)
    index = usable.index(images)
    if usable.averaged_over is not None:
        index = np.full(len(index), -1)
    index = np.where(np.isfinite(time), index, -1)
    return drift_within(usable.values, index, time, blocks=blocks, percent=UNITS[now.unit].zero)


def notes_on(sites: Sequence[SiteDrift], before: Tuning, after: Tuning) -> list[str]:
    """What a reader must know about how the gains came about."""
    notes = []
    if sites and not np.isfinite(after.variance).any():
        notes.append("averages without single trials: no gain, no drift within the day")
    elif sites and not np.isfinite(before.variance).any():
        notes.append("a baseline without repeats: its trial variance is taken from this round")
    for method, text in (
        ("blank", f"fewer than {FEWEST_IMAGES} common images: gain of the mean evoked response, offset from the blank"),
        ("zero", f"fewer than {FEWEST_IMAGES} common images and no common blank: gain of the mean response, offset 0"),
        ("", "gain not estimated"),
    ):
        named = [s.site for s in sites if s.method == method]
        if named:
            notes.append(f"{len(named)} sites: {text} ({', '.join(named[:3])}{', ...' if len(named) > 3 else ''})")
    outcomes = [s.outcome for s in sites]
    if sites:
        counts = ", ".join(f"{outcomes.count(o)} {o}" for o in ("same", *EXCLUDED, "no evidence") if o in outcomes)
        few = "; without evidence a site counts as itself" if "no evidence" in outcomes else ""
        notes.append(
            f"identity of {len(sites)} sites on up to {max(s.images for s in sites)} common images: {counts}{few}"
        )
    unknown = [s.site for s in sites if s.method and not s.told]
    if unknown:
        some = f"{', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}"
        notes.append(f"{len(unknown)} sites: the images cannot tell the gain, nothing is aligned ({some})")
    return notes
