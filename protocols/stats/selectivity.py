"""How selective a pattern of responses is: its softmax share, and the linear contrast of sites that stands for it."""

from __future__ import annotations

import numpy as np

from protocols.arrays import Floats


def log_share(scaled: Floats, target: int) -> Floats:
    """Log softmax of `scaled`, shape (..., U), at `target`, shape (...).

    `scipy.special.log_softmax` gives the same to 1e-12 and other last bits: evaluations that were written earlier would
    not repeat.
    """
    return np.asarray(scaled[..., target] - np.logaddexp.reduce(scaled, axis=-1))


def selectivity_weights(predicted: Floats, target: int, *, temperature: float = 1.0) -> Floats:
    """Weights of the other sites in ``z_target - sum_j w_j z_j``, shape (U,), summing to 1, 0 at the target; all 0
    where there is no other site.

    The log odds ``log(S / (1 - S)) = (z_target - T logsumexp_{j != target}(z_j / T)) / T`` of the softmax share S have
    this contrast as their gradient, times T, with w the softmax of the other sites. The mean of the gradients at all
    predicted images is taken: it is the slope between controller and references as far as the prediction knows it.

    Parameters
    ----------
    predicted : array of shape (N, U)
        Predicted responses of the controller and its references in natural SDs. Where one is missing all other sites
        weigh the same.
    target : int
    temperature : float
        Of the softmax.
    """
    sites = np.arange(predicted.shape[1])
    others = sites != target
    if not others.any() or not len(predicted) or not np.isfinite(predicted).all():
        return np.where(others, 1 / max(others.sum(), 1), 0.0)
    scaled = np.where(others, predicted / temperature, -np.inf)
    shares = np.exp(scaled - scaled.max(1, keepdims=True))
    return np.asarray((shares / shares.sum(1, keepdims=True)).mean(0))


def effective_number(weights: Floats) -> float:
    """``1 / sum w^2``: how many sites of equal weight average noise as well; 0 where none has weight."""
    squares = float((weights**2).sum())
    return 1 / squares if squares else 0.0
