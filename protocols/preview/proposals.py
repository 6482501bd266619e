"""What a person should see of a round's images before they are exported: predictions, familiarity, colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.disk.files import finite_or_none, sha256_file
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.progress import Reporter
from protocols.project.decisions.standing import read_standing
from protocols.project.fitted import fitted_for, maker
from protocols.project.folder import Project, Round
from protocols.project.photograph_warnings import photograph_warnings
from protocols.project.photographs import NaturalImages
from protocols.report.sites import field_circle
from protocols.rounds.decisions.honour import confirmatory_places, last_words
from protocols.synthesis.colour import image_chroma
from protocols.synthesis.request import recipe
from protocols.synthesis.starts import measured_z
from synth import StimulusBatch

from .changed import changed_since, other_size

__all__ = ["Preview", "Proposal", "Range", "gather_preview"]

TOGETHER = 32
"""Images that are predicted at once."""


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """One image of the round.

    Attributes
    ----------
    name : str
    objective : str
        Kind of its row, such as "stretch".
    site : str
        Its target.
    seed : int
    best : bool
        It is the confirmatory one of its row.
    pixels : uint8 array of shape (H, W, C)
    start : str
        Source id of the image that the ascent began with; "" = noise.
    z, low, high : arrays of shape (U,)
        Predicted mean response of every site in natural SDs, with the limits of its 95 % interval; the limits are NaN
        where the encoder knows none.
    validator_z : float
        Of the target, by the validator.
    distance : float or None
        From the fitted images, in medians of what those have.
    outside : bool or None
        Farther from them than 99 % of the photographs.
    clipped, contrast : float
        Share of values at black or white; RMS contrast, SD of relative luminance.
    chroma : float
        The 99th percentile of its pixels; 0 for grey.
    decision : str
        What somebody decided about it, in words; "" = nothing.
    """

    name: str
    objective: str
    site: str
    seed: int
    best: bool
    pixels: Pixels
    start: str
    z: Floats
    low: Floats
    high: Floats
    validator_z: float
    distance: float | None
    outside: bool | None
    clipped: float
    contrast: float
    chroma: float
    decision: str = ""


@dataclass(frozen=True)
class Range:
    """5th, 50th and 95th percentile over the photographs."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Range:
        """Of `values` (N,)."""
        return cls(*(float(v) for v in np.percentile(values, [5, 50, 95])))


@dataclass(frozen=True, kw_only=True)
class Preview:
    """All that the page shows.

    Attributes
    ----------
    project, session, encoder, validator : str
    number : int
        Of the round.
    exported : bool
        Whether the round is exported already.
    site_ids : sequence of U str
    proposals : sequence of Proposal
    best : dict of site to (source id, pixels, z)
        The photograph that evoked most at the site, by shrunken means, and what it evoked in natural SDs.
    circles : dict of site to (x, y, radius) in px, or None
        The model receptive field.
    contrast, chroma : Range
        Of the photographs.
    warnings : sequence of str
        What is hardly meant in the photographs.
    controllers_sha256 : str
        Of the file of the images, as it was read.
    changed : sequence of str
        What of project.toml was changed since the images were made.
    """

    project: str
    session: str
    encoder: str
    validator: str
    number: int
    exported: bool
    site_ids: Sequence[str]
    proposals: Sequence[Proposal]
    best: dict[str, tuple[str, Pixels, float]]
    circles: dict[str, tuple[float, float, float] | None]
    contrast: Range
    chroma: Range
    warnings: Sequence[str]
    controllers_sha256: str = ""
    changed: Sequence[str] = ()

    def records(self) -> list[dict[str, Any]]:
        """One JSON-able record per image; None = not known."""
        listed = []
        for p in self.proposals:
            column = list(self.site_ids).index(p.site)
            numbers = {
                "z": float(p.z[column]),
                "low": float(p.low[column]),
                "high": float(p.high[column]),
                "validator_z": p.validator_z,
                "photograph_z": self.best[p.site][2],
                "distance": p.distance,
                "clipped": p.clipped,
                "contrast": p.contrast,
                "chroma": p.chroma,
            }
            about = {
                "image": p.name,
                "objective": p.objective,
                "site": p.site,
                "seed": p.seed,
                "best": p.best,
                "decision": p.decision,
            }
            listed.append(about | {"outside": p.outside, "start": p.start} | finite_or_none(numbers))
        return listed


def gather_preview(
    project: Project, round_: Round, *, device: str = "cpu", progress: Reporter | None = None
) -> Preview:
    """Predict a round's images once more from their 8-bit pixels, and put the photographs beside them.

    Raises
    ------
    DataError
        P20: the round has no images yet, or another encoder made them, or for a display of another size.
    """
    if not round_.controllers_path.is_file():
        raise _not_made(round_, "no sealed/controllers.h5", "images of the round", fix="run `stimsynth generate` first")
    digest = sha256_file(round_.controllers_path)
    batch = StimulusBatch.load(round_.controllers_path)
    encoder, validator = (e.to(device) for e in load_pair(project, round_.number))
    _refuse_others(project, round_, batch, fingerprint=encoder.fingerprint)
    natural = NaturalImages.load(project.data)
    photographs = natural.pixels()
    z = measured_z(project, encoder)
    targets = list(dict.fromkeys(batch.targets))
    columns = {site: list(encoder.site_ids).index(site) for site in targets}
    strongest = {site: int(z[:, column].argmax()) for site, column in columns.items()}
    newest = fitted_for(project.fitted, round_.number)
    record: dict[str, Any] = {} if newest is None else dict(newest.record)
    fits = {site["site_id"]: site for site in record.get("report", {}).get("sites", [])}
    shown = project.display.constraints()[-1].statistics(_floats(photographs))["rms"].numpy()
    return Preview(
        project=project.config.project.name,
        session=round_.session_id,
        encoder=maker(record) if record else encoder.fingerprint,
        validator=str(record.get("validator", validator.fingerprint)),
        number=round_.number,
        exported=round_.outbox.is_dir(),
        site_ids=tuple(encoder.site_ids),
        proposals=_proposals(
            project, batch, (encoder, validator), number=round_.number, columns=columns, progress=progress
        ),
        best={s: (natural.source_ids[i], photographs[i], float(z[i, columns[s]])) for s, i in strongest.items()},
        circles={site: field_circle(fits.get(site), project.display) for site in targets},
        controllers_sha256=digest,
        contrast=Range.of(shown),
        chroma=Range.of(image_chroma(project.display, photographs)),
        warnings=photograph_warnings(natural, project.display, shown_elsewhere=False),
        changed=changed_since(
            project,
            batch,
            [c.describe() for c in recipe(project, photographs)["constraints"]],
            shown_to={"size_deg": encoder.info.field_of_view_deg, "background": encoder.info.background},
        ),
    )


def _refuse_others(project: Project, round_: Round, batch: StimulusBatch, *, fingerprint: str) -> None:
    """P20 for images of another size than the display, or of another encoder than `fingerprint`."""
    if (size := other_size(project, batch)) is not None:
        raise _not_made(
            round_,
            *size,
            fix=f"restore [display]; or delete {round_.place}/sealed/controllers.h5, fit for the new display, and run "
            "`stimsynth generate` again",
        )
    if batch.encoder_fingerprint != fingerprint:
        raise _not_made(
            round_,
            f"images made by the encoder {batch.encoder_fingerprint or '(unknown)'}",
            f"those of the encoder that serves, {fingerprint}",
            fix=f"delete {round_.place}/sealed/controllers.h5 and run `stimsynth generate` again",
        )


def _proposals(
    project: Project,
    batch: StimulusBatch,
    pair: tuple[Encoder | Ensemble, Encoder | Ensemble],
    *,
    number: int,
    columns: dict[str, int],
    progress: Reporter | None,
) -> list[Proposal]:
    encoder, validator = pair
    mean, sd = (getattr(encoder, f"natural_{name}").double().cpu().numpy() for name in ("mean", "sd"))
    parts = []
    for begin in range(0, len(batch), TOGETHER):
        parts.append(_judged(encoder, batch.images[begin : begin + TOGETHER]))
        if progress is not None:
            progress("preview", min(begin + TOGETHER, len(batch)), len(batch))
    z, low, high = ((np.concatenate(values) - mean) / sd for values in zip(*parts, strict=True))
    chroma = image_chroma(project.display, batch.images)
    contrast = project.display.constraints()[-1].statistics(_floats(batch.images))["rms"].tolist()
    words = last_words(read_standing(project.folder), number, batch)
    chosen, clipped = confirmatory_places(batch, words) or set(batch.best_indices()), batch.black_or_white
    listed = []
    for i, site in enumerate(batch.targets):
        listed.append(
            Proposal(
                name=f"c{i + 1:04d}",
                objective=batch.kinds[i].split("+")[0],
                site=site,
                seed=int(batch.seeds[i]),
                best=i in chosen,
                pixels=batch.images[i],
                start=batch.start_ids[i],
                z=z[i],
                low=low[i],
                high=high[i],
                validator_z=_validator_z(batch, validator, i),
                distance=None if batch.distance is None else float(batch.distance[i]),
                outside=None if batch.outside is None else bool(batch.outside[i]),
                clipped=float(clipped[i]),
                contrast=contrast[i],
                chroma=float(chroma[i]),
                decision="" if (word := words[i]) is None else word.told,
            )
        )
    return listed


@torch.no_grad()
def _judged(encoder: Encoder | Ensemble, pixels: Pixels) -> tuple[Floats, Floats, Floats]:
    """Predicted means of uint8 images (B, H, W, C) and the limits of their 95 % intervals, (B, U) each."""
    images = _floats(pixels).to(encoder.natural_mean.device)
    if encoder.uncertainty is None:
        answers = encoder(images)
        mean = (answers if answers.dim() == 2 else answers.mean(0)).double().cpu().numpy()
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    found = encoder.judge(images)
    mean, low, high = (v.double().cpu().numpy() for v in (found.mean, found.lower, found.upper))
    return mean, low, high


def _validator_z(batch: StimulusBatch, validator: Encoder | Ensemble, i: int) -> float:
    """What the validator predicts of the target, in its own natural SDs."""
    site = batch.targets[i]
    if batch.validator_predicted is None or site not in validator.site_ids:
        return float("nan")
    column = list(validator.site_ids).index(site)
    predicted = float(batch.validator_predicted[i, batch.site_ids.index(site)])
    return (predicted - float(validator.natural_mean[column])) / float(validator.natural_sd[column])


def _floats(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255


def _not_made(round_: Round, found: str, expected: str, *, fix: str) -> DataError:
    return DataError(
        round_.place,
        found=found,
        expected=expected,
        cause="the images were not made yet, or the encoder or the display was changed since",
        fix=fix,
        code="P20",
    )
