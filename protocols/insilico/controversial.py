"""Controversial pairs: made for two encoders of one display, written as a folder, judged when they were recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from encoders import Encoder, Ensemble
from protocols.arrays import Bools, Floats
from protocols.disk.drawing import new_figure, short_label
from protocols.disk.files import finite_or_none, write_json
from protocols.disk.tables import write_table
from protocols.errors import DataError
from protocols.models.pair import load_pair
from protocols.progress import Reporter
from protocols.project.folder import Project
from protocols.recordings.dataset import gather
from protocols.stats.duels import repeats_needed
from protocols.stats.trials import trial_variance
from protocols.synthesis.batch import write_batch
from synth import StimulusBatch, ascend
from synth.answers import images_of, z_scores_to
from synth.comparison.controversial import Limits, best_pairs, controversial, disagreement, side_by_side

from .opened import Opened

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Controversy", "PairOptions", "make_pairs", "open_other", "write_pairs"]

Predictor = Encoder | Ensemble
DISPLAY = ("size_deg", "background", "encoding", "gamma", "aperture", "aperture_edge")
"""What the pixels of an image mean on a display, beside their number."""
COLUMNS = (
    "site", "first_image", "second_image", "kept", "first_apart", "second_apart", "first_prefers", "second_prefers",
    "natural_first_prefers", "natural_second_prefers", "repeats",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PairOptions:
    """What is asked of controversial pairs.

    Attributes
    ----------
    sites : sequence of str, or None
        None: all that both encoders may control.
    apart : float
        Natural SDs by which, in a pair that is kept, both encoders disagree about each image, and each encoder prefers
        its own.
    steps : int or None
        Gradient steps; None: those of project.toml.
    """

    sites: Sequence[str] | None = None
    apart: float = 1.0
    steps: int | None = None


@dataclass(frozen=True)
class Controversy:
    """Controversial pairs of two encoders, two images per site, after 8 bits.

    Attributes
    ----------
    batch : StimulusBatch of 2 S images
        Of every site the image that the first encoder prefers, then the one that the second prefers; predictions of
        both encoders stand side by side (``v4_012``, ``v4_012_other``).
    sites : tuple of S str
    apart : array of shape (S, 2)
        ``z_first - z_second`` of the first image, ``z_second - z_first`` of the second; NaN outside the natural range.
    preference : array of shape (S, 2)
        By how many natural SDs the first encoder prefers the first image, the second encoder the second.
    natural : array of shape (S, 2)
        The same of the most controversial pair of photographs.
    kept : bool array of shape (S,)
    repeats : array of shape (S,)
        Presentations of each image after which the right encoder is found with power 0.8, if one of the two is right;
        NaN where the recording has no trials to estimate the noise from.
    names : (str, str)
        Fingerprints of the encoders.
    threshold : float
    unit : str
        Of the recording that the first encoder was fitted to.
    natural_sd : array of shape (S,)
        Of the sites, in that unit.
    """

    batch: StimulusBatch
    sites: tuple[str, ...]
    apart: Floats
    preference: Floats
    natural: Floats
    kept: Bools
    repeats: Floats
    names: tuple[str, str]
    threshold: float
    unit: str
    natural_sd: Floats

    def to_dict(self) -> dict[str, Any]:
        """The pairs for scripts."""
        return {
            "first": self.names[0],
            "second": self.names[1],
            "threshold": self.threshold,
            "unit": self.unit,
            "natural_sd": dict(zip(self.sites, self.natural_sd.tolist(), strict=True)),
            "kept": int(self.kept.sum()),
            "pairs": [finite_or_none(dict(zip(COLUMNS, row, strict=True))) for row in self.rows()],
        }

    def rows(self) -> list[list[Any]]:
        """One row of `COLUMNS` per site."""
        rows = []
        for s, site in enumerate(self.sites):
            images = [f"img_{2 * s + i + 1:04d}" for i in range(2)]
            numbers = [*self.apart[s], *self.preference[s], *self.natural[s], self.repeats[s]]
            rows.append([site, *images, bool(self.kept[s]), *(float(n) for n in numbers)])
        return rows

    def summary(self) -> str:
        """The pairs in words."""
        kept = int(self.kept.sum())
        lines = [
            f"{kept} of {len(self.sites)} sites have a pair about which {self.names[0]} and {self.names[1]} disagree "
            f"by {self.threshold:g} natural SDs or more, after 8 bits and within the natural range of both"
        ]
        if not kept:
            lines.append("the two encoders cannot be told apart by such images; nothing speaks for showing them")
            return "\n".join(lines)
        smaller, of_photographs = (np.nanmin(x[self.kept], 1) for x in (self.preference, self.natural))
        lines.append(
            f"the weaker preference of a pair: median {np.median(smaller):.1f} natural SDs; of the most controversial "
            f"pair of photographs {np.nanmedian(of_photographs):.1f}"
        )
        needed = self.repeats[self.kept & np.isfinite(self.repeats)]
        lines.append(
            f"if one encoder is right, {np.median(needed):.0f} presentations of each image find it with power 0.8 at "
            "the median site; where the truth lies between the two, more are needed"
            if len(needed)
            else "how many presentations find the right one is not known: no photograph was recorded twice"
        )
        return "\n".join(lines)


def open_other(opened: Opened, other: str, *, device: str = "cpu") -> Predictor:
    """The second encoder: ``validator``, or the newest encoder of another project folder.

    Raises
    ------
    DataError
        V51: another display, or the same encoder; D06: nothing fitted there.
    """
    if other == "validator":
        return opened.validator
    project = Project.open(Path(other)).for_stage()
    encoder = load_pair(project, project.newest_fit() or 1)[0].to(device)
    found, expected, cause = "", "", ""
    if tuple(encoder.image_shape) != tuple(opened.encoder.image_shape):
        found = f"an encoder of images of shape {tuple(encoder.image_shape)}"
        expected = f"shape {tuple(opened.encoder.image_shape)}, that of this project"
        cause = "the two projects have other displays"
    elif differs := [k for k in DISPLAY if getattr(project.display, k) != getattr(opened.project.display, k)]:
        found = ", ".join(f"[display] {key} = {getattr(project.display, key)!r}" for key in differs)
        expected = ", ".join(f"{key} = {getattr(opened.project.display, key)!r}" for key in differs)
        cause = "the two projects have other displays, on which the same pixels are another stimulus"
    elif encoder.fingerprint == opened.encoder.fingerprint:
        found, expected = f"the encoder {encoder.fingerprint} twice", "two different encoders"
        cause = "the project itself was named, or a copy that was not fitted again"
    if found:
        raise DataError(
            other,
            found=found,
            expected=expected,
            cause=cause,
            fix="fit this recording with other settings of [encoder] in a copy of the project, and name that",
            code="V51",
        )
    return encoder


def _sites(opened: Opened, other: Predictor, wanted: Sequence[str] | None) -> tuple[str, ...]:
    both = tuple(s for s in opened.targets if s in other.target_ids)
    chosen = both if wanted is None else tuple(dict.fromkeys(wanted))
    unknown = [s for s in chosen if s not in both]
    if unknown or not chosen:
        raise DataError(
            str(opened.project.folder / "project.toml"),
            found=f"sites that are not targets of both encoders: {', '.join(unknown[:5]) or 'no site in common'}",
            expected=f"sites among {', '.join(both[:8]) or '(none)'}",
            cause="a slip of the pen, or a site that one of the fits left out",
            fix="name other sites with --sites, or leave the option out",
            code="V52",
        )
    return chosen


def make_pairs(
    opened: Opened,
    other: Predictor,
    options: PairOptions,
    *,
    device: str = "cpu",
    progress: Reporter | None = None,
) -> Controversy:
    """Two images per site that two encoders order differently (`synth.comparison.controversial`), from the most
    controversial photographs, by the project's own settings; what is kept is decided by the 8-bit images.

    Raises
    ------
    DataError
        V52: sites that are not targets of both.
    """
    sites = _sites(opened, other, options.sites)
    both, count = side_by_side(opened.encoder, other, sites), len(sites)
    natural = z_scores_to(both, opened.natural)
    limits = Limits.of(natural[:, :count], natural[:, count:])
    starts = best_pairs(natural[:, :count], natural[:, count:], limits)
    begin = images_of(opened.natural[starts.ravel()])
    names = [[opened.source_ids[i]] for i in starts.ravel().tolist()]
    batch = ascend(
        both,
        controversial(sites, limits),
        **opened.recipe,
        seeds=(0,),
        steps=opened.project.config.synthesis.steps if options.steps is None else options.steps,
        start=begin,
        start_ids=names,
        device=device,
        progress=progress,
    )
    made = z_scores_to(both, batch.images).reshape(count, 2, 2, count)  # site, image, encoder, column
    own = np.arange(count)
    z = made[own, :, :, own]  # (S, image, encoder)
    apart = np.stack(
        [sign * disagreement(z[:, i, 0], z[:, i, 1], limits) for i, sign in enumerate((1, -1))],
        1,
    )
    photographs = natural.reshape(-1, 2, count)[starts.T, :, own]  # (image, S, encoder)
    preference = _preference(z.transpose(1, 0, 2))
    kept: Bools = np.asarray((np.minimum(apart, preference) >= options.apart).all(1))  # NaN is not
    noise = _trial_noise(opened, sites)
    return Controversy(
        batch=batch,
        sites=sites,
        apart=apart,
        preference=preference,
        natural=_preference(photographs),
        kept=kept,
        repeats=repeats_needed(preference.min(1), noise),
        names=(opened.encoder.fingerprint, other.fingerprint),
        threshold=options.apart,
        unit=opened.encoder.response_unit,
        natural_sd=_natural_sd(opened, sites),
    )


def _preference(z: Floats) -> Floats:
    """How much the first encoder prefers the first image and the second the second: (image, S, encoder) -> (S, 2)."""
    return np.stack([z[0, :, 0] - z[1, :, 0], z[1, :, 1] - z[0, :, 1]], 1)


def _trial_noise(opened: Opened, sites: Sequence[str]) -> Floats:
    """SD of a trial about its image's mean in natural SDs, (S,); NaN without two trials or with averages."""
    data = gather(opened.project, [])
    columns = [data.site_ids.index(s) for s in sites]
    if data.averaged_over is not None and bool((data.averaged_over > 1).any()):
        return np.full(len(sites), np.nan)
    return np.sqrt(trial_variance(data.values[:, columns], data.image_index)[0]) / _natural_sd(opened, sites)


def _natural_sd(opened: Opened, sites: Sequence[str]) -> Floats:
    known: Floats = opened.encoder.natural_sd.double().cpu().numpy()
    return known[[opened.encoder.site_ids.index(s) for s in sites]]


def write_pairs(found: Controversy, out: Path) -> Path:
    """Write the images as `write_batch` does, and ``pairs.csv``, ``pairs.json``, ``pairs.png``, into a new folder."""

    def more(folder: Path) -> None:
        write_table(folder / "pairs.csv", COLUMNS, [[_cell(v) for v in row] for row in found.rows()])
        write_json(folder / "pairs.json", found.to_dict())
        pairs_figure(found).savefig(folder / "pairs.png", dpi=110)

    return write_batch(found.batch, out, more)


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ("" if not np.isfinite(value) else f"{value:.3f}") if isinstance(value, float) else str(value)


def pairs_figure(found: Controversy, columns: int = 8) -> Figure:
    """Up to eight kept pairs above, the preferences of all pairs against those of photographs below."""
    order = [s for s in np.argsort(-np.nan_to_num(found.preference.min(1))) if found.kept[s]][:columns]
    figure = new_figure(10, 5.6)
    parts: Any = figure.subfigures(2, 1, height_ratios=[1, 1.15])
    above, below = parts
    grid = above.subplots(2, max(1, len(order)), squeeze=False)
    for axes in grid.ravel():
        axes.set_xticks([])
        axes.set_yticks([])
    for column, s in enumerate(order):
        for line in range(2):
            image = found.batch.images[2 * s + line]
            grid[line][column].imshow(image[..., 0] if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        grid[0][column].set_title(short_label(found.sites[s]), fontsize=7)
    grid[0][0].set_ylabel("first prefers", fontsize=7)
    grid[1][0].set_ylabel("second prefers", fontsize=7)
    axes = below.subplots()
    weaker, natural = np.nan_to_num(found.preference.min(1)), np.nan_to_num(found.natural.min(1))
    for kept, colour, label in ((True, "#2166ac", "kept"), (False, "#bbbbbb", "not kept")):
        some = found.kept == kept
        axes.scatter(natural[some], weaker[some], s=18, color=colour, label=f"{label} ({int(some.sum())})")
    end = max(weaker.max(initial=1.0), natural.max(initial=1.0)) * 1.05
    axes.plot([0, end], [0, end], color="k", linewidth=0.6)
    axes.set_xlabel("weaker preference in the most controversial pair of photographs, natural SDs")
    axes.set_ylabel("in the synthesised pair")
    axes.legend(fontsize=8, frameon=False)
    return figure
