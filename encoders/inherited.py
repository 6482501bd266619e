"""Networks that were tuned on an earlier recording, in place of the trained ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from .backbones import Backbone
from .encoder import Encoder, Ensemble
from .features import Reduction, extract_features
from .fine_tuning import seen
from .several import Backbones

__all__ = ["count_seen", "inherit"]


def inherit(network: Backbone | Backbones, earlier: Encoder | Ensemble) -> Backbone | Backbones:
    """`network` with the tensors that `earlier` tuned of the networks of the same uri; others stay as they are.

    Raises
    ------
    ValueError
        If there is no such network, or it was loaded with other weights.
    """
    tuned = {part.uri: part for part in _networks(earlier.backbone).values() if part.adapted}
    own = _networks(network)
    if not any(part.uri in tuned for part in own.values()):
        raise ValueError(
            f"encoder {earlier.fingerprint} tuned {', '.join(tuned) or 'no network'}; expected one of {', '.join(sorted({p.uri for p in own.values()}))}. "
            "Likely cause: it was fitted without fine_tune, or with another backbone or preset. Fix: name an encoder that was tuned with these "
            "networks, or fit with its networks"
        )
    made = {name: _adapted(part, tuned[part.uri], earlier) if part.uri in tuned else part for name, part in own.items()}
    return made[""] if isinstance(network, Backbone) else Backbones(made)


def count_seen(earlier: Encoder | Ensemble, images: NDArray[np.uint8], device: torch.device | str = "cpu") -> int:
    """How many of the images (N, H, W, C) `earlier` was fitted to; 0 where it was fitted to images of another shape, or does not know."""
    channels, height, width = earlier.info.image_shape
    if earlier.uncertainty is None or images.shape[1:] != (height, width, channels):
        return 0
    kept = Reduction(1, summary=True)
    return seen(earlier, extract_features(earlier.backbone, images, reduction=kept, device=device))


def _networks(network: Backbone | Backbones) -> dict[str, Backbone]:
    return {"": network} if isinstance(network, Backbone) else network.networks


def _adapted(part: Backbone, tuned: Backbone, earlier: Encoder | Ensemble) -> Backbone:
    if part.weights_sha256 != tuned.untuned_sha256:
        raise ValueError(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it from other weights than are loaded here. Likely cause: another file of weights, or "
            "another version of the package they come with. Fix: use the weights that it was tuned from"
        )
    if part.tunable().keys() != tuned.tunable().keys():
        raise ValueError(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it with other batch norms folded into its convolutions than here, where "
            f"{', '.join(part.layers)} are read. Likely cause: one of the two reads the output of a single convolution. Fix: read whole blocks"
        )
    return part.adapt(tuned.adapted)
