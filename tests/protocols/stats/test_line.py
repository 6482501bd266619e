"""The straight line of responses on levels: against scipy, and pooled over sites."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from protocols.stats.line import Line, line_of, pooled


def test_the_line_is_that_of_a_reference() -> None:
    rng = np.random.default_rng(0)
    wanted = rng.normal(size=9)
    got = 0.7 * wanted + rng.normal(size=9)
    known, line = stats.linregress(wanted, got), line_of(wanted, got)
    half = stats.t.ppf(0.975, 7) * known.stderr
    assert (line.slope, line.correlation) == pytest.approx((known.slope, known.rvalue))
    assert (line.slope_low, line.slope_high) == pytest.approx((known.slope - half, known.slope + half))
    interval = stats.pearsonr(wanted, got).confidence_interval()
    assert (line.correlation_low, line.correlation_high) == pytest.approx(tuple(interval))
    assert line_of(wanted, np.ones(9)).slope is None
    assert line_of(wanted[:1], got[:1]).slope is None


def test_sites_are_pooled_with_an_interval_over_sites() -> None:
    """Slopes as they are, correlations by Fisher z; a site without a line does not count."""
    slopes, correlations = [0.5, 1.0, 1.6], [0.2, 0.9, 0.7]
    lines = [Line(9, slope=s, correlation=r) for s, r in zip(slopes, correlations, strict=True)]
    found = pooled([*lines, Line(4)])
    for got, values, back in (
        ((found.slope, found.slope_low, found.slope_high), slopes, np.asarray),
        ((found.correlation, found.correlation_low, found.correlation_high), np.arctanh(correlations), np.tanh),
    ):
        low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
        assert got == pytest.approx(tuple(back([np.mean(values), low, high])))
    assert found.images == 3
    assert pooled([lines[0], Line(4)]).slope_low is None
    assert pooled([Line(4)]) == Line(0)
