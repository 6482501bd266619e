"""Intervals of predictions, calibrated on left-out images, and the distance of an image to the fitted images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import Tensor, nn

from encoders.backbones.pooling import summarise
from encoders.reliability import varies

CONFIDENCE = 0.9  # of the interval that left-out images calibrate
NEIGHBOURS = 5
LIMIT_QUANTILE = 0.99  # of the distances of natural images
FLOOR = 0.01  # smallest model variance, as a share of a site's variance


class Uncertainty(nn.Module):
    r"""Predictive variance of each site, and how familiar an image is.

    The error of a prediction f(x) of the mean of n trials has the variance

    .. math:: v_u(x) = a_u + g\, s_u^2(x) + (b_u + c_u \max(f_u(x), 0)) / n

    Here s^2 is the variance of the members over layers (`spread_over_layers`). a_u and g are fitted to the squared
    errors of left-out images less their trial noise; b_u and c_u to the variance of single trials about their image's
    mean. An interval is f +- q w_u sqrt(v). q is a quantile of the normal distribution; w_u makes 90 % intervals cover
    90 % of the left-out images (split conformal: Papadopoulos et al. 2002).

    Parameters
    ----------
    error_floor, noise_floor, noise_slope, width : Tensors of shape (U,)
        a, b, c and w.
    error_gain : Tensor of shape ()
        g.
    familiar : Tensor of shape (N, D)
        Summaries of the fitted images (`summarise`), standardised.
    familiar_mean, familiar_scale : Tensors of shape (D,)
    unit_distance, limit : Tensors of shape ()
        Median distance of a fitted image to the fitted images of other groups; 99th percentile, in units of that
        median.
    """

    error_floor: Tensor
    error_gain: Tensor
    noise_floor: Tensor
    noise_slope: Tensor
    width: Tensor
    familiar: Tensor
    familiar_mean: Tensor
    familiar_scale: Tensor
    unit_distance: Tensor
    limit: Tensor
    NAMES = (
        "error_floor",
        "error_gain",
        "noise_floor",
        "noise_slope",
        "width",
        "familiar",
        "familiar_mean",
        "familiar_scale",
        "unit_distance",
        "limit",
    )

    def __init__(self, **tensors: Tensor) -> None:
        super().__init__()
        if set(tensors) != set(self.NAMES):
            raise ValueError(f"tensors {', '.join(sorted(tensors))}; expected {', '.join(self.NAMES)}")
        sites = tensors["error_floor"].shape
        if any(tensors[name].shape != sites for name in ("noise_floor", "noise_slope", "width")):
            raise ValueError(
                "error_floor, noise_floor, noise_slope and width differ in shape; expected one number per site"
            )
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().float().contiguous())

    def variance(self, mean: Tensor, spread: Tensor, repeats: float | None) -> Tensor:
        """Predictive variance (B, U), from mean and variance over members (B, U); `repeats` None: no trial noise."""
        model = self.error_floor + self.error_gain * torch.nan_to_num(spread)
        if repeats is None:
            return model
        if repeats < 1:
            raise ValueError(f"repeats {repeats}; expected 1 or more, or None for the expected response")
        return model + (self.noise_floor + self.noise_slope * mean.clamp_min(0)) / repeats

    def half_width(
        self, mean: Tensor, spread: Tensor, *, level: float = CONFIDENCE, repeats: float | None = 1
    ) -> Tensor:
        """Half the width (B, U) of the interval that holds the mean of `repeats` trials with the confidence `level`."""
        if not 0 < level < 1:
            raise ValueError(f"level {level}; expected between 0 and 1")
        quantile = NormalDist().inv_cdf((1 + level) / 2)
        return quantile * self.width * self.variance(mean, spread, repeats).sqrt()

    def distance(self, features: Mapping[str, Tensor]) -> Tensor:
        """Distance (B,) to the nearest fitted images; 1 is the median of the fitted images themselves."""
        summaries = torch.cat([summarise(features[layer]) for layer in sorted(features)], 1)
        rows = (summaries - self.familiar_mean) / self.familiar_scale
        return nearest(rows, self.familiar) / self.unit_distance


def nearest(rows: Tensor, among: Tensor, forbidden: Tensor | None = None) -> Tensor:
    """Root mean squared distance per dimension to the five nearest rows of `among`, mean over these, (B,).

    Parameters
    ----------
    rows : Tensor of shape (B, D)
    among : Tensor of shape (N, D)
    forbidden : bool Tensor of shape (B, N), optional
        Pairs that do not count.
    """
    squared = torch.cdist(rows, among).square() / rows.shape[1]
    if forbidden is not None:
        squared = squared.masked_fill(forbidden, float("inf"))
    k = min(NEIGHBOURS, among.shape[0] - 1 if forbidden is not None else among.shape[0])
    distances: Tensor = squared.topk(max(k, 1), dim=1, largest=False).values.sqrt().mean(1)
    return distances


def spread_over_layers(answers: Tensor, reads: Sequence[object]) -> Tensor:
    """Variance of the answers of one member per layer, (B, U), averaged over the choice of the members.

    It is the variance between layers (ddof 1) of their members' mean, plus the mean over layers of the variance within.
    Left-out images calibrate it from one member per layer, since all others of the layer were fitted to the image.

    Parameters
    ----------
    answers : Tensor of shape (M, B, U)
    reads : sequence of M
        What each member reads; members of one layer agree more than members of different layers.

    Returns
    -------
    Tensor of shape (B, U)
        0 where all members read the same.
    """
    layers = list(dict.fromkeys(reads))
    if len(layers) < 2:
        return torch.zeros_like(answers[0])
    parts = [answers[[m for m, own in enumerate(reads) if own == layer]] for layer in layers]
    between = torch.stack([part.mean(0) for part in parts]).var(0)
    within = torch.stack([part.var(0, unbiased=False) for part in parts]).mean(0)
    return between + within


def fit_uncertainty(
    summaries: Tensor,
    groups: Sequence[str],
    left_out: Sequence[Tensor],
    *,
    means: NDArray[np.float64],
    counts: NDArray[np.float64],
    trial_variance: NDArray[np.float64],
    reads: Sequence[object] | None = None,
) -> Uncertainty:
    """Calibrate on the fitted images; each is predicted by members that were fitted without it.

    Parameters
    ----------
    summaries : Tensor of shape (N, D)
        Of the fitted images, for the distance: `summarise` of each layer, in alphabetical order.
    groups : sequence of N str
        Distances are to images of other groups.
    left_out : sequence of G Tensors of shape (N, U)
        Left-out predictions, one per group of layers.
    means, counts : arrays of shape (N, U)
        Mean responses (NaN = none) and the trials behind them.
    trial_variance : array of shape (N, U)
        Variance of single trials about their image's mean (ddof 1), NaN where fewer than two.
    reads : sequence of G, optional
        What each of `left_out` reads, where several read the same layers; see `spread_over_layers`. Default: each reads
        layers of its own.

    Returns
    -------
    Uncertainty
    """
    predictions = torch.stack([part.double() for part in left_out]).numpy()  # (G, N, U)
    unit = _units(means)
    means, predictions, trial_variance = means / unit, predictions / unit, trial_variance / unit**2
    predicted = predictions.mean(0)
    spread = spread_over_layers(torch.from_numpy(predictions), reads or range(len(predictions))).numpy()
    floor, slope = _trial_noise(means, trial_variance, counts)
    noise = (floor + slope * np.maximum(predicted, 0)) / np.maximum(counts, 1)
    squared = (means - predicted) ** 2
    gain, error_floor = _model_error(squared - noise, spread)
    deviation = np.sqrt(squared / (error_floor + gain * spread + noise))
    width = np.nanquantile(deviation, CONFIDENCE, axis=0) / NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    tensors = {
        "error_floor": error_floor * unit**2,
        "error_gain": gain,
        "noise_floor": floor * unit**2,
        "noise_slope": slope * unit,
        "width": width,
    }
    return Uncertainty(**{k: torch.as_tensor(v) for k, v in tensors.items()}, **_familiarity(summaries, groups))


def with_familiar(uncertainty: Uncertainty, summaries: Tensor, groups: Sequence[str]) -> Uncertainty:
    """The same intervals, with distances to other images or to other features of the same images.

    Parameters
    ----------
    uncertainty : Uncertainty
    summaries : Tensor of shape (N, D)
    groups : sequence of N str
        As in `fit_uncertainty`.
    """
    kept = {name: tensor.cpu() for name, tensor in uncertainty.state_dict().items()}
    return Uncertainty(**kept | _familiarity(summaries.cpu(), groups))


def _units(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """SD (U,) of mean responses (N, U), the unit of the calibration; the size of the response at a constant site."""
    sd, size = np.nanstd(means, 0), np.nanmax(np.abs(means), 0)
    return np.where(varies(means), sd, np.where(size > 0, size, 1.0))


def _trial_noise(
    means: NDArray[np.float64], variance: NDArray[np.float64], counts: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Floor and slope (U,), both >= 0, of the variance of a trial over the mean; zero where no image has two trials."""
    sites = means.shape[1]
    floor, slope = np.zeros(sites), np.zeros(sites)
    for u in range(sites):
        rows = np.isfinite(variance[:, u]) & np.isfinite(means[:, u])
        if rows.any():
            weight = np.sqrt(np.maximum(counts[rows, u] - 1, 1))
            design = np.stack([np.ones(int(rows.sum())), np.maximum(means[rows, u], 0)], 1)
            (floor[u], slope[u]), _ = nnls(design * weight[:, None], variance[rows, u] * weight)
    return floor, slope


def _model_error(excess: NDArray[np.float64], spread: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
    """Gain of the spread for all sites, and floor of each (U,), from squared errors less trial noise (N, U).

    All are in variances of their site.
    """
    known = np.isfinite(excess)
    (_, gain), _ = nnls(np.stack([np.ones(int(known.sum())), spread[known]], 1), excess[known])
    floor = np.nanmean(np.where(known, excess - gain * spread, np.nan), 0)
    return float(gain), np.maximum(floor, FLOOR)


def _familiarity(summaries: Tensor, groups: Sequence[str]) -> dict[str, Tensor]:
    """The tensors of `Uncertainty` that the distance needs, from summaries (N, D) of the fitted images."""
    rows = summaries.double()
    mean, scale = rows.mean(0), rows.std(0)
    scale = scale + 1e-3 * scale.mean() + 1e-12
    rows = (rows - mean) / scale
    _, label = np.unique(np.asarray(groups), return_inverse=True)
    same = torch.from_numpy(label)[:, None] == torch.from_numpy(label)[None]
    distances = nearest(rows, rows, same)
    finite = distances[torch.isfinite(distances)]
    unit = finite.median().clamp_min(1e-12) if len(finite) else torch.tensor(1.0, dtype=torch.float64)
    limit = torch.quantile(finite, LIMIT_QUANTILE) / unit if len(finite) else torch.tensor(torch.inf)
    return {
        "familiar": rows,
        "familiar_mean": mean,
        "familiar_scale": scale,
        "unit_distance": unit,
        "limit": limit,
    }
