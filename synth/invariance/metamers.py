"""Metamers: images that evoke the response pattern of another image and lie as far from it as they can."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synth.answers import images_of, z_scores_to
from synth.ascent.ascend import ascend
from synth.batch import StimulusBatch
from synth.batches import batch_of, generator_for
from synth.contract import EncoderLike, Images, Progress, attributes_of
from synth.objectives import Objective, Row, Term, pattern
from synth.objectives.bound import column_of
from synth.parameterisations import fourier
from synth.rules import Rule, cosine

__all__ = ["Matching", "find_metamers", "largest_deviation", "starts_of"]

NOISE_SD = 0.2  # of the noise that a search starts from, in pixel values


@dataclass(frozen=True)
class Matching:
    """Settings of `find_metamers`.

    Attributes
    ----------
    tolerance : float
        Largest difference of any site's response from the reference's, in natural SDs.
    steps : int
    learning_rate : float
        At the start; it falls to 0 by a cosine.
    penalty : float
        Of the mean squared excess over `held` x tolerance, in pixel values per squared natural SD.
    held : float
        Share of the tolerance inside which a difference costs nothing.
    """

    tolerance: float = 0.25
    steps: int = 200
    learning_rate: float = 0.05
    penalty: float = 50.0
    held: float = 0.6

    def __post_init__(self) -> None:
        if not self.tolerance > 0 or self.steps < 1:
            raise ValueError(
                f"tolerance {self.tolerance}, steps {self.steps}; expected natural SDs above 0, at least 1"
            )


def largest_deviation(z: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest absolute difference over sites of patterns (N, U) from one or N patterns: (N,), in natural SDs."""
    largest: NDArray[np.float64] = np.abs(z - wanted).max(-1)
    return largest


def starts_of(
    reference: NDArray[np.uint8], others: NDArray[np.uint8], count: int, *, name: str
) -> tuple[NDArray[np.float32], list[str]]:
    """`count` images to start from, (count, C, H, W) in [0, 1], and what they are: "negative", "noise", "photograph".

    The negative turns every pixel value v of the reference into 1 - v: no image of its contrast lies farther away. Then
    noise of a natural spectrum and `others`, (N, H, W, C), take turns.
    """
    images, kinds = [1 - images_of(reference[None])], ["negative"]
    channels, height, width = images[0].shape[1:]
    build = fourier((channels, height, width), 1.75, noise=NOISE_SD)
    for i in range(count - 1):
        if i % 2 == 0 or not len(others):
            images.append(build([generator_for(name, i)])().detach().clamp(0, 1))
            kinds.append("noise")
        else:
            images.append(images_of(others[[(i // 2) % len(others)]]))
            kinds.append("photograph")
    return torch.cat(images[:count]).numpy(), kinds[:count]


@torch.inference_mode(False)
def find_metamers(
    encoder: EncoderLike,
    sites: Sequence[str],
    references: Mapping[str, NDArray[np.uint8]],
    *,
    starts: Mapping[str, NDArray[np.float32]],
    constraints: Sequence[Images],
    settings: Matching,
    device: torch.device | str | None = None,
    progress: Progress | None = None,
) -> StimulusBatch:
    """Images far from a reference whose response pattern lies within a tolerance of its own.

    Ascent on ``|x - x_ref| - penalty mean_u relu(|z_u - z_u(x_ref)| - held tolerance)^2``, with the root mean squared
    distance of pixel values. Matching of a model's responses follows Feather et al. 2023 and Freeman & Simoncelli 2011;
    the distance in the objective is ours. Whether an image met the tolerance is for the caller to say, from its pixels.

    Parameters
    ----------
    sites : sequence of K names
        Whose responses are to be equal.
    references : dict of name to array of shape (H, W, C), uint8
        Images that meet the constraints.
    starts : dict of the same names to arrays of shape (S, C, H, W), in [0, 1]

    Returns
    -------
    StimulusBatch of references x S images
        Its objective is `synth.pattern`, of each reference's responses.
    """
    columns = [column_of(site, attributes_of(encoder).site_ids) for site in sites]
    pixels, seeds = np.stack(list(references.values())), range(len(next(iter(starts.values()))))
    wanted = z_scores_to(encoder, pixels)[:, columns]  # (R, K)
    rows = tuple(
        Row(
            (
                Term(
                    kind=f"metamer_of_{name}",
                    site=sites[0],
                    among=tuple(sites),
                    values=tuple(float(v) for v in row),
                    settings=(),
                    function=_apart(images_of(image[None])[0], settings),
                ),
            )
        )
        for (name, image), row in zip(references.items(), wanted, strict=True)
    )
    made = ascend(
        encoder,
        Objective(rows),
        fourier(images_of(pixels[:1]).shape[1:]),
        constraints=constraints,
        transforms=(),
        rule=Rule(schedule=cosine()),
        seeds=list(seeds),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        start=torch.from_numpy(np.stack([starts[name] for name in references])),
        device=device,
        progress=progress,
    )
    patterns = [pattern(dict(zip(sites, map(float, row), strict=True))) for row in wanted]
    asked = Objective(tuple(p.rows[0] for p in patterns for _ in seeds))
    record = {"generator": "find_metamers", **asdict(settings), "constraints": made.settings["constraints"]}
    return batch_of(encoder, made.images, asked, seeds=made.seeds.tolist(), start_ids=made.start_ids, settings=record)


def _apart(reference: Tensor, settings: Matching) -> Callable[..., Tensor]:
    """The term of one reference (C, H, W)."""

    def term(images: Tensor, z: Tensor, *more: Any) -> Tensor:
        _, given = more  # the column of the target, and the settings of the term
        away = (images - reference.to(images)).flatten(1).square().mean(1).clamp_min(1e-12).sqrt()
        named = z.index_select(-1, given["among"])
        excess = ((named - given["values"].to(z)).abs() - settings.held * settings.tolerance).relu()
        score: Tensor = away - settings.penalty * excess.square().mean(-1)
        return score

    return term
