"""Start a fit from networks that were fine-tuned on an earlier recording."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from encoders.backbones import Backbone
from encoders.backbones.features import Reduction, extract_features
from encoders.backbones.multiple import Backbones
from encoders.encoder import Encoder, Ensemble
from encoders.readouts import GradientReadout, LinearReadout, Readout
from encoders.tuning.fine_tune import count_fitted

from .predict import network_on
from .readout_spec import ReadoutSpec


class NoEarlierNetworks(ValueError):
    """Why a fit cannot start from the networks of an encoder of an earlier recording."""


def start_from(
    network: Backbone | Backbones, earlier: Encoder | Ensemble, *, for_sites: bool = False
) -> Backbone | Backbones:
    """The network with the tensors that `earlier` tuned of the same networks; other networks stay as they are.

    Two networks are the same if their uri is; where `earlier` tuned one at several sizes, the size must be the same
    too. With `for_sites` the fit reads the sites of `earlier`: its networks may then be as they were trained, if they
    have the weights that are loaded here.

    Raises
    ------
    NoEarlierNetworks
        If there is no such network, or it was loaded with other weights.
    """
    tuned: dict[str, dict[int | None, Backbone]] = {}
    for part in _networks(earlier.backbone).values():
        if part.adapted:
            tuned.setdefault(part.uri, {})[part.input_size] = part
    own = _networks(network)
    if for_sites and not tuned and _same_weights(own, _networks(earlier.backbone)):
        return network
    started = {name: _adapted(part, tuned.get(part.uri, {}), earlier) for name, part in own.items()}
    if not any(part.uri in tuned for part in own.values()):
        expected = ", ".join(sorted({part.uri for part in own.values()}))
        raise NoEarlierNetworks(
            f"encoder {earlier.fingerprint} tuned {', '.join(tuned) or 'no network'}; expected one of {expected}. "
            "Likely cause: it was fitted without fine_tune, no epoch of its tuning was kept, or it has another "
            "backbone or preset. Fix: name an encoder that was tuned with these networks, or fit with its networks"
        )
    return started[""] if isinstance(network, Backbone) else Backbones(started)


def count_known(
    earlier: Encoder | Ensemble, pixels: NDArray[np.uint8], device: torch.device | str | None = None
) -> int | None:
    """How many of the images `pixels` (N, H, W, C) `earlier` was fitted to, compared pixel by pixel.

    The network computes on `device` (default: where the encoder is); the encoder stays where it is.

    None where that is unknown: the images have another shape, the encoder kept nothing of those it was fitted to, or
    its own networks come from yet another recording.
    """
    channels, height, width = earlier.info.image_shape
    if (
        earlier.uncertainty is None
        or pixels.shape[1:] != (height, width, channels)
        or "networks_from" in earlier.info.settings
    ):
        return None
    network, place = network_on(earlier, device)
    features = extract_features(network, pixels, reduction=Reduction(1, summary=True), device=place)
    return count_fitted(earlier, features)


def known_readouts(
    earlier: Encoder | Ensemble, spec: ReadoutSpec, entries: Sequence[str], *, size: tuple[int, int]
) -> tuple[Readout, ...]:
    """The readouts of the sites of `earlier`, for a fit that reads these sites.

    Parameters
    ----------
    earlier : Encoder or Ensemble
    spec : ReadoutSpec
        Of the fit.
    entries : sequence of str
        Layers of the fit; "a+b" are two.
    size : (H, W)
        Of the fit's images, in pixels.

    Raises
    ------
    NoEarlierNetworks
        If they cannot read what the fit computes: other layers, other sizes of images or other pooling.
    """
    known = tuple(readout for readout in earlier.readouts if isinstance(readout, Readout))
    own = {layer for group in spec.groups(entries) for layer in group}
    missing = [layer for readout in known for layer in readout.layers if layer not in own]
    if missing:
        raise NoEarlierNetworks(
            f"encoder {earlier.fingerprint} reads {missing[0]}, which this fit does not; expected its layers among "
            f"{', '.join(sorted(own))}. Fix: fit with the preset or the layers of that encoder"
        )
    before = tuple(earlier.info.image_shape[1:])
    if before != tuple(size) and any(part.input_size is None for part in _networks(earlier.backbone).values()):
        raise NoEarlierNetworks(
            f"encoder {earlier.fingerprint} reads images of {' x '.join(map(str, before))} pixels; this fit has "
            f"{' x '.join(map(str, size))}. Its readouts weigh every position of the maps. Fix: record images of "
            "that size, or choose another readout than the one that reads its sites"
        )
    for part in (part for readout in known for part in readout.modules()):
        if isinstance(part, LinearReadout | GradientReadout):
            pool = spec.rows_pooled_to if isinstance(part, LinearReadout) else spec.pooled_to
            if part.pool != pool:  # the maps that it reads would be pooled twice
                raise NoEarlierNetworks(
                    f"encoder {earlier.fingerprint} was fitted with pool = {part.pool} for its readout "
                    f"{part.kind!r}, this fit pools to {pool}. Fix: fit both with the same pool"
                )
    return known


def _networks(network: Backbone | Backbones) -> dict[str, Backbone]:
    return {"": network} if isinstance(network, Backbone) else network.networks


def _same_weights(own: dict[str, Backbone], earlier: dict[str, Backbone]) -> bool:
    """Whether every network of `earlier` is here under the same name, with the same weights and input size."""
    return all(
        name in own and (own[name].weights_sha256, own[name].input_size) == (part.weights_sha256, part.input_size)
        for name, part in earlier.items()
    )


def _adapted(part: Backbone, tuned: dict[int | None, Backbone], earlier: Encoder | Ensemble) -> Backbone:
    """A network with the tensors of the one in `tuned` (by input size) that has its size, or of the only one."""
    if not tuned:
        return part
    if part.input_size not in tuned and len(tuned) > 1:
        raise NoEarlierNetworks(
            f"{part.uri} at size {part.input_size}: encoder {earlier.fingerprint} tuned it at the sizes "
            f"{', '.join(map(str, tuned))}; expected one of these. Fix: read it at one of these sizes"
        )
    source = tuned.get(part.input_size) or next(iter(tuned.values()))
    if part.weights_sha256 != source.untuned_sha256:
        raise NoEarlierNetworks(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it from other weights than are loaded here. Likely "
            "cause: another file of weights, or another version of the package they come with. Fix: use the weights "
            "that it was tuned from"
        )
    if part.tunable().keys() != source.tunable().keys():
        raise NoEarlierNetworks(
            f"{part.uri}: encoder {earlier.fingerprint} tuned it with other batch norms folded into its convolutions "
            f"than here, where {', '.join(part.layers)} are read. Likely cause: one of the two reads the output of a "
            "single convolution. Fix: read whole blocks"
        )
    return part.adapt(source.adapted)
