"""The controllers that an experiment starts from: the best images of a batch, or made for the purpose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from protocols.arrays import Pixels
from protocols.insilico.opened import Opened
from protocols.insilico.sites import check_sites
from protocols.progress import Reporter
from protocols.synthesis.starts import starts_for
from synth import Objective, StimulusBatch, ascend, stretch

from .checks import not_of_here

__all__ = ["Controllers", "from_batch", "given", "made_for"]


@dataclass(frozen=True)
class Controllers:
    """One image per site or row, and what it was made for.

    Attributes
    ----------
    pixels : array of shape (S, H, W, C), uint8
    objective : Objective of S rows
    sites : tuple of S str
        The (first) target of each row.
    names : tuple of S str
        Of the rows, such as ``stretch:v4_012``.
    origin : str
        Where they come from, for people.
    """

    pixels: Pixels
    objective: Objective
    sites: tuple[str, ...]
    names: tuple[str, ...]
    origin: str

    def __len__(self) -> int:
        return len(self.pixels)


def given(opened: Opened, batch: Path | None, sites: Sequence[str], *, progress: Reporter | None = None) -> Controllers:
    """The best image of every row of `batch`, or stretch controllers made for `sites` (none named: all targets).

    Raises
    ------
    DataError
        V40: a batch that cannot be read, or is of another display or other sites; V41: a site that is unknown, or has
        no image in the batch.
    """
    return made_for(opened, sites, progress=progress) if batch is None else from_batch(opened, batch, sites)


def made_for(opened: Opened, sites: Sequence[str], *, progress: Reporter | None = None) -> Controllers:
    """The best stretch controller of each of `sites`, with the project's settings, by the validator's score."""
    chosen = list(sites) or list(opened.targets)
    check_sites(chosen, opened.targets, where="the project")
    settings, objective = opened.project.config.synthesis, stretch(chosen)
    start = start_ids = None
    if settings.start == "natural":
        begins = starts_for(objective, opened.encoder.site_ids, opened.measured, seeds=settings.seeds)
        start = torch.from_numpy(opened.natural[begins]).movedim(-1, -3).float() / 255
        start_ids = [[opened.source_ids[i] for i in row] for row in begins]
    batch = ascend(
        opened.encoder,
        objective,
        **opened.recipe,
        seeds=range(settings.seeds),
        steps=settings.steps,
        start=start,
        start_ids=start_ids,
        device=opened.encoder.natural_mean.device,
        progress=progress,
    ).validate(opened.validator)
    return _best(batch, (), "made for this, with the project's settings")


def from_batch(opened: Opened, folder: Path, sites: Sequence[str]) -> Controllers:
    """The best image of every row of the batch in `folder` whose first target is one of `sites` (none named: all)."""
    batch = read_batch(opened, folder)
    if sites:
        check_sites(sites, [target.split("+")[0] for target in batch.targets], where=f"the batch {folder.name}")
    return _best(batch, sites, f"the batch {folder.name}")


def read_batch(opened: Opened, folder: Path) -> StimulusBatch:
    """The batch that `generate --out` wrote into `folder`, of this project's display and sites."""
    try:
        batch = StimulusBatch.load(folder / "batch.h5")
    except (FileNotFoundError, ValueError) as error:
        raise not_of_here(folder, str(error), "batch.h5 as `stimsynth generate --out` writes it") from error
    channels, height, width = opened.project.display.shape
    if batch.images.shape[1:] != (height, width, channels):
        found = f"images of {batch.images.shape[2]} x {batch.images.shape[1]} pixels, {batch.images.shape[3]} channels"
        raise not_of_here(folder, found, f"{width} x {height} pixels, {channels} channels, as the display's")
    unknown = [site for site in batch.site_ids if site not in opened.encoder.site_ids]
    if unknown or not len(batch):
        found = f"{len(batch)} images, and sites that the encoder does not know: {', '.join(unknown[:5]) or 'none'}"
        raise not_of_here(folder, found, "at least one image, and sites of the newest encoder")
    return batch


def _best(batch: StimulusBatch, sites: Sequence[str], origin: str) -> Controllers:
    wanted = [i for i in batch.best_indices() if not sites or batch.targets[i].split("+")[0] in sites]
    best = batch.take(wanted)
    return Controllers(
        pixels=best.images,
        objective=best.objective,
        sites=tuple(target.split("+")[0] for target in best.targets),
        names=best.row_names,
        origin=origin,
    )
