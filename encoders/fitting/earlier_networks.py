"""Networks that were tuned on an earlier recording, in place of the trained ones."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.backbones.backbone import Backbone
from encoders.backbones.features import Reduction, extract_features
from encoders.backbones.multiple import Backbones
from encoders.encoder import Encoder, Ensemble
from encoders.tuning.fine_tune import seen

__all__ = ["NotInherited", "count_seen", "inherit"]


class NotInherited(ValueError):
    """Why networks of an earlier encoder cannot be taken."""


def inherit(network: Backbone | Backbones, earlier: Encoder | Ensemble) -> Backbone | Backbones:
    """`network` with the tensors that `earlier` tuned of the same networks; others stay as they are.

    A network is the same by its uri; where `earlier` tuned one at several sizes, by its size too.

    Raises
    ------
    NotInherited
        If there is no such network, or it was loaded with other weights.
    """
    tuned: dict[str, dict[int | None, Backbone]] = {}
    for part in _networks(earlier.backbone).values():
        if part.adapted:
            tuned.setdefault(part.uri, {})[part.input_size] = part
    own = _networks(network)
    made = {name: _adapted(part, tuned.get(part.uri, {}), earlier) for name, part in own.items()}
    if not any(part.uri in tuned for part in own.values()):
        raise NotInherited(
            f"encoder {earlier.fingerprint} tuned {', '.join(tuned) or 'no network'}; expected one of {', '.join(sorted({p.uri for p in own.values()}))}. "
            "Likely cause: it was fitted without fine_tune, no pass of its tuning was kept, or it has another backbone or preset. Fix: name an encoder "
            "that was tuned with these networks, or fit with its networks"
        )
    return made[""] if isinstance(network, Backbone) else Backbones(made)


def count_seen(
    earlier: Encoder | Ensemble, images: NDArray[np.uint8], device: torch.device | str = "cpu"
) -> int | None:
    """How many of the images (N, H, W, C) `earlier` was fitted to, pixel by pixel.

    None where that cannot be told: images of another shape, nothing kept of those it was fitted to, or networks that it had from another recording.
    """
    channels, height, width = earlier.info.image_shape
    if (
        earlier.uncertainty is None
        or images.shape[1:] != (height, width, channels)
        or "networks_from" in earlier.info.settings
    ):
        return None
    kept = Reduction(1, summary=True)
    return seen(earlier, extract_features(earlier.backbone, images, reduction=kept, device=device))


def _networks(network: Backbone | Backbones) -> dict[str, Backbone]:
    return {"": network} if isinstance(network, Backbone) else network.networks


def _adapted(part: Backbone, tuned: dict[int | None, Backbone], earlier: Encoder | Ensemble) -> Backbone:
    """`part` as one of `tuned` (by input size) is: that of its own size, or the only one."""
    if not tuned:
        return part
    if part.input_size not in tuned and len(tuned) > 1:
        raise NotInherited(
            f"{part.uri} at size {part.input_size}: encoder {earlier.fingerprint} tuned it at the sizes {', '.join(map(str, tuned))}; expected one of "
            "these. Fix: read it at one of these sizes"
        )
    source = tuned.get(part.input_size) or next(iter(tuned.values()))
    if part.weights_sha256 != source.untuned_sha256:
        raise NotInherited(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it from other weights than are loaded here. Likely cause: another file of weights, or "
            "another version of the package they come with. Fix: use the weights that it was tuned from"
        )
    if part.tunable().keys() != source.tunable().keys():
        raise NotInherited(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it with other batch norms folded into its convolutions than here, where "
            f"{', '.join(part.layers)} are read. Likely cause: one of the two reads the output of a single convolution. Fix: read whole blocks"
        )
    return part.adapt(source.adapted)
