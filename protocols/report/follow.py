"""Do the responses to synthesised images follow the predictions, those of the encoder and of the validator?"""

from __future__ import annotations

import numpy as np

from encoders.metrics import Calibration, calibration
from protocols.arrays import Floats

from .fit import number
from .section import Section, Table
from .view import RoundView

SENTENCE = (
    "Over the controllers and graded images of this round, all of them at every site: correlation r, slope of measured "
    "on predicted responses, and R² of the prediction as it stands. A slope below 1 says that the prediction promised "
    "more than came. Self: the encoder that made the images, whose predictions are selected to be high. Peer: the "
    "validator, which took no part in the ascent. Both were sealed before the responses were recorded. Trial noise is "
    "not corrected for."
)


def follow_sections(view: RoundView) -> list[Section]:
    """One line per site, and one of all sites together in natural SDs; nothing where no site has predictions."""
    rows = [*view.key.of_role("controller"), *view.key.of_role("graded")]
    sites = [site for site in view.key.site_ids if site in view.responses.site_ids]
    if not rows or not sites:
        return []
    measured = view.responses.sites(tuple(sites)).mean([row.image_id for row in rows])
    mean, sd = view.key.natural_statistics()
    columns = [view.key.site_ids.index(site) for site in sites]
    scale = (mean[columns], sd[columns])
    lines = [["all sites, in natural SDs"], *([site] for site in sites)]
    for kind in ("predicted", "validator_predicted"):
        predicted = np.array([[getattr(row, kind).get(site, np.nan) for site in sites] for row in rows])
        pooled = calibration(*(standardised(part, *scale).reshape(-1, 1) for part in (predicted, measured)))
        each = calibration(predicted, measured)
        for line, part in zip(lines, [(pooled, 0), *((each, u) for u in range(len(sites)))], strict=True):
            line += cells(*part)
    if not any(cell != "-" for line in lines for cell in line[2:]):
        return []
    header = ["site"]
    for who in ("self", "peer"):
        header += [f"{who}:\n{name}" for name in ("images", "r", "slope", "R²")]
    table = Table(header=header, lines=lines[1:], numbers=[i > 0 for i in range(len(header))], last=lines[:1])
    return [Section(title="Do the responses follow the predictions?", sentences=[SENTENCE], tables=[table])]


def standardised(responses: Floats, mean: Floats, sd: Floats) -> Floats:
    """Responses (N, U) in natural SDs about the natural mean."""
    return (responses - mean) / sd


def cells(found: Calibration, u: int) -> list[str]:
    """Images, r, slope and R2 of one site."""
    if not np.isfinite(found.r[u]):
        return ["-"] * 4
    return [str(int(found.images[u])), *(number(float(part[u])) for part in (found.r, found.slope, found.r2))]
