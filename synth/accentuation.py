"""Feature accentuation: what drives a site in a given photograph, by an ascent that stays near the photograph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .answers import default_site_ids
from .contract import EncoderLike, attributes_of, digest

__all__ = ["Accentuating", "accentuating"]

Features = Callable[[Tensor], Tensor]


@torch.inference_mode(False)  # what is made under it can be kept for no gradient
def accentuating(
    encoder: EncoderLike, photographs: Tensor, names: Sequence[str] | None = None, *, features: Features | None = None
) -> Accentuating:
    """The encoder with one more column per photograph: minus the distance of the image from it (Hamblin et al. 2024).

    The distance is the root mean squared difference of features, divided by the SD over the photograph's own features:
    0 = the photograph, 1 = as far from it as a uniform image of its mean is in pixels. The new column is a site: it
    composes with every objective, is stored with the batch, and its limits are a term of an objective::

        seen = accentuating(encoder, photographs)                    # sites like_000, like_001, ...
        objective = stretch(["v4_012", "v4_047"]) + 2.0 * stretch(["like_000", "like_001"])
        batch = ascend(seen, objective, fourier(shape), start=photographs)
        batch.validate(accentuating(validator, photographs))

    ``100 * within("like_000", low=-0.3, high=1)`` holds the distance below 0.3 instead of weighing it. Objectives over
    all sites, such as `one_hot`, must name theirs (``among=``).

    Parameters
    ----------
    encoder : callable, (B, C, H, W) in [0, 1] -> (B, U) or (M, B, U)
    photographs : Tensor of shape (K, C, H, W), in [0, 1]
    names : sequence of K site ids, or None (``like_000``, ...)
    features : callable, images (B, C, H, W) -> (B, ...), such as an early or middle layer; None = the pixels
    """
    return Accentuating(encoder, photographs, names, features=features)


class Accentuating(nn.Module):
    """See `accentuating`."""

    references: Tensor
    scale: Tensor

    def __init__(
        self, encoder: EncoderLike, photographs: Tensor, names: Sequence[str] | None, *, features: Features | None
    ) -> None:
        super().__init__()
        _check_photographs(photographs)
        self.encoder, self.features = encoder, features
        known = attributes_of(encoder)
        with torch.no_grad():
            shown = photographs.to(known.device)
            columns = encoder(shown[:1]).shape[-1]
            references = self._features(shown)
        scale = references.std(1, correction=0)  # (K,)
        if not bool((scale > 1e-6).all()):
            index = int((~(scale > 1e-6)).nonzero()[0])
            raise ValueError(
                f"the features of photograph {index} have the SD {float(scale[index]):g}; expected a number above 0. "
                "Likely cause: a uniform image, or features that leave nothing of it"
            )
        self.register_buffer("references", references)  # (K, D)
        self.register_buffer("scale", scale)
        own = default_site_ids(known, columns)
        self.names = tuple(f"like_{i:03d}" for i in range(len(photographs))) if names is None else tuple(names)
        twice = [n for n in self.names if n in own or self.names.count(n) > 1]
        if len(self.names) != len(photographs) or twice:
            raise ValueError(
                f"{len(self.names)} names for {len(photographs)} photographs; used twice or by a site: "
                f"{', '.join(twice) or 'none'}; expected one new name per photograph"
            )
        self.site_ids = (*own, *self.names)
        more = len(self.names)
        self.natural_mean = None if known.mean is None else torch.cat([known.mean, known.mean.new_zeros(more)])
        self.natural_sd = None if known.sd is None else torch.cat([known.sd, known.sd.new_ones(more)])
        self.fingerprint = f"{known.fingerprint}+like_{digest(photographs)[:8]}" if known.fingerprint else ""

    @property
    def uncertainty(self) -> Any:
        """The encoder's, where it has one."""
        return getattr(self.encoder, "uncertainty", None)

    def judge(self, images: Tensor) -> Any:
        """The encoder's judgement of how familiar images are."""
        return self.encoder.judge(images)  # type: ignore[attr-defined]

    def _features(self, images: Tensor) -> Tensor:
        features = images if self.features is None else self.features(images)
        return features.flatten(1)  # (B, D)

    def forward(self, images: Tensor) -> Tensor:
        """Responses (B, U + K) or (M, B, U + K): the encoder's, then minus the distance from each photograph."""
        responses = self.encoder(images)
        features = self._features(images)
        squared = (features[:, None] - self.references.to(features)).square().mean(-1)  # (B, K)
        # a floor under the root keeps the gradient at the photograph itself finite
        like = -squared.clamp_min(1e-12).sqrt() / self.scale.to(features)
        return torch.cat([responses, like.to(responses).expand(*responses.shape[:-1], -1)], -1)


def _check_photographs(photographs: Tensor) -> None:
    fits = photographs.dim() == 4 and len(photographs) > 0 and photographs.is_floating_point()
    low, high = (float(photographs.min()), float(photographs.max())) if fits else (0.0, 0.0)
    if not fits or not (low >= 0 and high <= 1):
        raise ValueError(
            f"photographs of shape {tuple(photographs.shape)} and type {photographs.dtype}, from {low:g} to {high:g}; "
            "expected (K, C, H, W), floating point in [0, 1]: divide 8-bit pixels by 255"
        )
