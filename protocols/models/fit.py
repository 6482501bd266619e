"""Encoder and validator fitted to what was recorded so far, images weighted by age and by kind."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders import Encoder, Ensemble, FitOptions, FittedPair, NoReliableSites, Recording, fit_encoder
from encoders.fitting.earlier_networks import NoEarlierNetworks
from encoders.splits import hold_out, photographs
from protocols.arrays import Bools, Floats
from protocols.disk.files import inside, write_json
from protocols.errors import DataError
from protocols.progress import Reporter
from protocols.project.config.encoder import EncoderConfig
from protocols.project.folder import Project
from protocols.project.photographs import drawn_for_another
from protocols.recordings.dataset import Dataset

COLOURS = {1: "grey", 3: "RGB"}


@dataclass(frozen=True)
class Weights:
    """Factors of the images' weights in a refit, and what they come to.

    Attributes
    ----------
    factors : float64 array of shape (N,), or None
        Beside the number of trials of an image; None: all are 1.
    natural_share : float
        Share of the natural images in the weight of the fitted images, after the factors; 0 where no fitted image was
        shown.
    natural_before : float
        The same by trials alone.
    """

    factors: Floats | None
    natural_share: float
    natural_before: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"natural_share": self.natural_share, "natural_share_by_trials": self.natural_before}


def fit_on(
    project: Project,
    data: Dataset,
    weights: Weights | None = None,
    *,
    initial: tuple[Encoder | Ensemble, ...] | None = None,
    added: NDArray[np.int64] | None = None,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> FittedPair:
    """Encoder and validator fitted to `data` as project.toml has it.

    `initial` and `added` make it a warm start; see `fit_encoder`. The held-out photographs are the same in every
    refit; a controller stays on the side of the photograph that it started from.
    """
    settings = project.config.encoder
    recording = recording_of(project, data, weights, added=added)
    try:
        return fit_encoder(
            recording,
            fit_options(settings, project.folder),
            networks_from=networks_from(project),
            initial=initial,
            device=device,
            cache=project.cache,
            progress=progress,
        )
    except NoEarlierNetworks as error:
        raise unusable_networks(project, error) from error
    except NoReliableSites as error:
        write_json(project.fitted / "excluded_sites.json", error.report.to_dict())
        raise no_reliable_site(project, error) from error


def unusable_networks(project: Project, error: NoEarlierNetworks) -> DataError:
    """D08: why a fit of `project` cannot begin with the encoder that networks_from names."""
    return DataError(
        "project.toml",
        found=f"[encoder] networks_from = {project.config.encoder.networks_from!r}: {error}",
        expected="an encoder whose networks were tuned, of the kinds that this project reads",
        cause="another encoder was copied, or another preset, backbone or size of the images is asked for",
        fix='copy another encoder, change preset or backbone, or set networks_from to ""',
        code="D08",
    )


def recording_of(
    project: Project, data: Dataset, weights: Weights | None = None, *, added: NDArray[np.int64] | None = None
) -> Recording:
    """What an encoder of `project` is fitted to; `weights` and `added` as in `fit_on`.

    Raises
    ------
    DataError
        C07: the photographs were imported for another display.
    """
    channels, height, width = project.display.shape
    if data.pixels.shape[1:] != (height, width, channels):
        rows, columns, depth = data.pixels.shape[1:]
        raise drawn_for_another(
            f"{columns} x {rows} px, {COLOURS.get(depth, depth)}",
            f"{width} x {height} px, {COLOURS[channels]}",
            f"{data.source_ids[0]}.png",
        )
    return Recording(
        pixels=data.pixels,
        values=data.values,
        image_index=data.image_index,
        site_ids=data.site_ids,
        unit=data.unit,
        field_of_view_deg=project.display.size_deg,
        background=project.display.background,
        colour=project.display.colour,
        groups=data.groups,
        coordinates=data.coordinates,
        averages=data.averaged_over is not None,
        repeats=data.averaged_over,
        natural=np.arange(len(data.pixels)) < data.natural,
        importance=None if weights is None else weights.factors,
        added=added,
    )


def no_reliable_site(
    project: Project,
    error: NoReliableSites,
    *,
    fix: str = "look at fitted/excluded_sites.json for each site's figures, correct the export and ingest again",
) -> DataError:
    """D05, with the cause that the sites' reasons point to; `fix` where they point to none."""
    found = f"no site with a reliability of at least {project.config.encoder.reliability_fit}"
    expected = "some sites that answer alike to repeats of one image"
    cause = (
        "image ids and responses were joined wrongly, the response window misses the response, or there are too few "
        "repeats"
    )
    if error.unrepeated:
        found = "no site with two trials of an image, so that nothing is known of the trial noise"
        expected = "two trials or more of some images, or the number of trials behind every row"
        cause = "the file holds one row per picture"
        fix = (
            "if the rows are averages over trials, write the number of trials behind each row as trial/averaged_over "
            "into the response file; if they are single trials, record two or more of at least some pictures"
        )
    elif error.constant:
        found = "no site whose response varies over the images"
        expected = "responses that differ between images"
        cause = "an empty export, or a column that holds something else than responses"
        fix = "look at the values of a few trials, correct the export and hand it over again"
    return DataError(str(project.folder), found=found, expected=expected, cause=cause, fix=fix, code="D05")


def fit_options(settings: EncoderConfig, folder: Path) -> FitOptions:
    """The options of a fit as project.toml has them; files of weights lie in the project's `folder`."""
    settings = settings.settled()
    assert settings.preset is not None
    assert settings.readout is not None
    return FitOptions(
        backbone=settings.backbone,
        weights=inside(folder, settings.weights) if settings.weights else "pretrained",
        validator_weights=inside(folder, settings.validator_weights) if settings.validator_weights else None,
        layers=settings.layers or settings.preset,
        readout=settings.readout,
        validator_backbone=settings.validator_backbone or None,
        validator_layers=settings.validator_layers or None,
        holdout_fraction=settings.holdout_fraction,
        folds=settings.folds,
        fine_tune=settings.fine_tune or 0,
        final_fit=bool(settings.final_fit),
        seed=settings.seed,
        join_near_duplicates=settings.join_near_duplicates,
        reliability_fit=settings.reliability_fit,
        reliability_target=settings.reliability_target,
    )


def networks_from(project: Project) -> Encoder | Ensemble | None:
    """The encoder that ``[encoder] networks_from`` names; None where nothing is named.

    Raises
    ------
    DataError
        D08: there is none.
    """
    named = project.config.encoder.networks_from
    if not named:
        return None
    try:
        return Encoder.load(project.folder / named)
    except (ValueError, OSError, ImportError, KeyError, TypeError, RuntimeError) as error:
        raise DataError(
            "project.toml",
            found=f"[encoder] networks_from = {named!r}, which cannot be opened ({error})",
            expected="the folder enc_... of an encoder of an earlier recording, copied into this project",
            cause="it was not copied, or copied under another name",
            fix=(
                "copy it from fitted/ of the earlier project, or set networks_from "
                'to "" to begin with the trained networks'
            ),
            code="D08",
        ) from error


def held_out_of(project: Project, data: Dataset) -> Bools:
    """Images that no fit of this project sees but a final one, (N,): by the names of their groups, hence the same
    in every refit.
    """
    settings = project.config.encoder
    return hold_out(names_of_groups(project, data), settings.holdout_fraction, seed=settings.seed)


def names_of_groups(project: Project, data: Dataset) -> list[str]:
    """Group of each image, N of them, as the fits of this project keep them whole: near duplicates among the natural
    images are one group, unless ``[encoder] join_near_duplicates`` is false.
    """
    natural = np.arange(len(data.pixels)) < data.natural
    return photographs(data.pixels, data.groups, among=natural, join=project.config.encoder.join_near_duplicates).names


def image_weights(data: Dataset, fitted: Bools, *, newest: int, recency: float, floor: float, share: float) -> Weights:
    """Factors of the images' weights: trials fade with age, natural images keep at least `floor` and together at
    least `share`.

    Parameters
    ----------
    data : Dataset
    fitted : bool array of shape (N,)
        Images that the fit may see.
    newest : int
        Round of age 0.
    recency : float
        A trial of age a rounds weighs recency ** a; an image's factor is the mean over its trials.
    floor : float
        Least factor of a natural image, before the share is looked at.
    share : float
        Least share of the natural images in the weight (trials x factor) of the fitted ones; where they have less,
        all their factors are raised alike.
    """
    shown = data.image_index >= 0
    index, behind = data.image_index[shown], data.averaged_over
    trials = np.ones(len(index)) if behind is None else behind[shown].astype(np.float64)
    faded = trials * recency ** (newest - data.trial_rounds[shown])
    count, kept = (
        np.bincount(index, weights=w, minlength=len(data.pixels)).astype(np.float64) for w in (trials, faded)
    )
    factors = np.divide(kept, count, out=np.ones_like(kept), where=count > 0)
    natural = np.arange(len(factors)) < data.natural
    factors[natural] = np.maximum(factors[natural], floor)

    def natural_share(weights: Floats) -> float:
        total = weights[fitted].sum()
        return float(weights[natural & fitted].sum() / total) if total > 0 else 0.0

    before, reached = natural_share(count), natural_share(count * factors)
    if 0 < reached < share:
        factors[natural] *= share / (1 - share) * (1 - reached) / reached
    reached = natural_share(count * factors)
    return Weights(None if np.all(factors == 1) else factors, reached, before)
