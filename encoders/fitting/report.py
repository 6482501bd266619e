"""What a fit reports: one record per site, and the settings; JSON-able."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

NAN = float("nan")
UNKNOWN = "reliability unknown: "  # how the reason begins where too few images have two trials
CONSTANT = "the response never varies"


@dataclass
class SiteReport:
    """Scores of one site; NaN = unknown.

    Attributes
    ----------
    site_id : str
    n_trials, n_images : int
        Trials of the site, and images with at least one of them.
    reliability : float
        Of the mean responses to the FITTED images; decides `eligible_fit` and `eligible_target`.
    held_out_reliability : float
        Of the mean responses to the held-out images.
    held_out_r, held_out_r_nc, held_out_feve : float
        Of the encoder (mean over members) on the held-out images: correlation with the mean responses; the same over
        sqrt(held_out_reliability); fraction of explainable variance explained. The reliability is that of these very
        images: in simulations this has less spread, and no more bias, than the reliability of all images.
    validator_r, validator_r_nc, validator_feve : float
        The same of the validator.
    ceiling : float
        Correlation with the held-out mean responses that a perfect prediction reaches: sqrt(held_out_reliability).
    best_layer : str
        Layer of the encoder that explains most in left-out folds; "" = not known.
    rf_x_deg, rf_y_deg, rf_sd_deg : float
        Centre of the model receptive field, rightwards and upwards from the centre of the image, and its mean SD, in
        degrees.
    rf_reason : str
        Why there is no field; "" = there is one.
    alphas : dict of layer to float
        Penalty of each ensemble member and of the validator.
    alpha_at_edge : list of str
        Layers whose penalty is the smallest or largest of the grid.
    cv_r2 : dict of layer to float
        Share of the variance of the mean responses that is explained in left-out folds of the fitted images. NaN: a
        warm start had no newest image of the site to stop by.
    eligible_fit, eligible_target : bool
        Whether the site is fitted, and whether it is offered as a target.
    reason : str
        Why the site is not fitted or not a target; "" = it is both.
    """

    site_id: str
    n_trials: int
    n_images: int
    reliability: float = NAN
    held_out_reliability: float = NAN
    held_out_r: float = NAN
    held_out_r_nc: float = NAN
    held_out_feve: float = NAN
    validator_r: float = NAN
    validator_r_nc: float = NAN
    validator_feve: float = NAN
    ceiling: float = NAN
    best_layer: str = ""
    rf_x_deg: float = NAN
    rf_y_deg: float = NAN
    rf_sd_deg: float = NAN
    rf_reason: str = ""
    alphas: dict[str, float] = field(default_factory=dict)
    alpha_at_edge: list[str] = field(default_factory=list)
    cv_r2: dict[str, float] = field(default_factory=dict)
    eligible_fit: bool = False
    eligible_target: bool = False
    reason: str = ""


@dataclass
class FitReport:
    """Outcome of `fit_encoder`.

    Attributes
    ----------
    sites : list of SiteReport
        All sites of the recording, in its order.
    settings : dict
        Network, layers, folds, thresholds and numbers of images.
    held_out_images : list of int
        Positions of the held-out images; no fit that is scored, and no choice, has seen them.
    encoder_fingerprint, validator_fingerprint : str
        "" where nothing was fitted.
    final : dict
        Of the encoder that was fitted once more, to all images: its fingerprint ``encoder``, ``n_fitted_images``, the
        ``epoch`` of its tuning that was kept (0 = none), and ``warm_start`` where it went on from an earlier one.
        Empty: there is none.
    """

    sites: list[SiteReport]
    settings: dict[str, Any]
    held_out_images: list[int]
    encoder_fingerprint: str = ""
    validator_fingerprint: str = ""
    final: dict[str, Any] = field(default_factory=dict)

    @property
    def fitted(self) -> list[SiteReport]:
        """The fitted sites, in the order of the encoder's columns."""
        return [site for site in self.sites if site.eligible_fit]

    def median(self, score: str) -> float:
        """Median of a score over the fitted sites where it is known; NaN if it is known for none."""
        values = [v for site in self.fitted if not math.isnan(v := getattr(site, score))]
        return float(np.median(values)) if values else NAN

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; NaN becomes None."""
        cleaned = _clean(asdict(self))
        assert isinstance(cleaned, dict)
        return cleaned

    def summary(self) -> str:
        """The outcome in a few lines of text."""
        targets = sum(site.eligible_target for site in self.sites)
        stopping = self.settings.get("n_stopping_images")
        beside = f" ({stopping} of them to decide when the tuning stops)" if stopping else ""
        lines = [
            f"{len(self.fitted)} of {len(self.sites)} sites fitted, {targets} reliable enough as targets; "
            f"{self.settings['n_fitted_images']} images fitted{beside}, {len(self.held_out_images)} held out.",
            f"Held out, median over fitted sites: r {self.median('held_out_r'):.3f}, noise-corrected "
            f"{self.median('held_out_r_nc'):.3f}, FEVE {self.median('held_out_feve'):.3f}; validator r "
            f"{self.median('validator_r'):.3f}, noise-corrected {self.median('validator_r_nc'):.3f}.",
        ]
        lines += self._near_duplicates()
        return "\n".join(lines + [f"{s.site_id}: {s.reason}" for s in self.sites if not s.eligible_fit])

    def _near_duplicates(self) -> list[str]:
        """What there is to say of images that look alike."""
        found = self.settings.get("near_duplicates", {})
        if found.get("across_split"):
            return [
                f"{found['across_split']} held-out images look like fitted ones under other names (near duplicates): "
                "the held-out scores are too high. Fix: let the fit join them, or give copies one group."
            ]
        if found.get("images") and self.settings.get("join_near_duplicates"):
            return [
                f"{found['images']} images look like another one under another name (near duplicates); each was kept "
                "on one side of every split with its like."
            ]
        return []


class NoReliableSites(ValueError):
    """No site can be fitted: `report` says why, per site.

    Attributes
    ----------
    report : FitReport
    unrepeated : bool
        No site has images with two trials: nothing is known of the noise, and nothing speaks against the recording.
    constant : bool
        No site's response varies.
    """

    def __init__(self, report: FitReport) -> None:
        self.report = report
        reasons = sorted({site.reason for site in report.sites}, key=len)
        self.unrepeated = all(reason.startswith(UNKNOWN) for reason in reasons)
        self.constant = reasons == [CONSTANT]
        found = f"none of {len(report.sites)} sites can be fitted ({'; '.join(reasons[:3])}). Likely cause: "
        if self.unrepeated:
            cause = (
                "one row per image. Fix: averages=True if the rows are averages over trials (in a response file: "
                "trial/averaged_over), or else record two trials or more of some images"
            )
        elif self.constant:
            cause = (
                "an empty export, or columns that are not responses. Fix: look at the values of a few trials, and "
                "export them again"
            )
        else:
            cause = (
                "responses joined to the wrong images, a wrong response window, or too few repeats. Fix: check the "
                "image ids and the window, or record more repeats; reliability_fit sets the threshold"
            )
        super().__init__(found + cause)


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _clean(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value
