"""Frozen feature networks: a `Backbone` maps images in [0, 1] to the features of named layers.

The backbone handles input range, channel count, resizing and normalisation, so that all other code uses pixel value /
255.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .capture import Capture, chosen_calls, count_calls, layer_modules, split_call
from .layout import Layout, earlier_layout, lay_out
from .probe import look
from .tensors import copy_parameters, hash_tensors

CHANNELS_LAST = ("offline:", "torchvision:")  # families that run faster in this memory format
HALF = {torch.float16, torch.bfloat16}
SLACK = 0.02  # beyond [0, 1]: what resampling adds, and small steps of finite differences
SMALL_PROBE = 64  # side of the image that shows how layers are laid out, where a network takes it


@dataclass(frozen=True)
class BackboneConfig:
    """Everything needed to build a backbone again.

    Attributes
    ----------
    uri, layers, input_size, weights, seed
        See `backbone`.
    weights_sha256 : str
        Of the weights before any adaptation; checked when the backbone is built again.
    built_for : tuple of str
        Layers that it was first built for, which decide what `fold_batch_norm` folds; empty = `layers`.
    adapted : tuple of str
        Names of the parameters that `Backbone.adapt` was given.
    folded : bool
        Batch normalisation was folded into the convolutions.
    calls : tuple of (str, int) or None
        Which call of its module each layer is, for those that are not the first; None = not known yet: the last.
    reading : int
        1: maps are read as versions did that did not look at the network, for encoders that these saved. 2: as the
        network lays them out (`Layout`).
    """

    uri: str
    layers: tuple[str, ...]
    input_size: int | None
    weights: str
    seed: int
    weights_sha256: str
    built_for: tuple[str, ...] = ()
    adapted: tuple[str, ...] = ()
    folded: bool = False
    calls: tuple[tuple[str, int], ...] | None = None
    reading: int = 2


class Backbone(nn.Module):
    """Frozen network, cut after the last named layer.

    Parameters
    ----------
    network : nn.Module
        Takes normalised RGB images. Its parameters are frozen, and it always stays in evaluation mode. One in half
        precision, or of mixed types, is converted to float32.
    config : BackboneConfig
    mean, std : sequences of 3 floats
        Input normalisation (x - mean) / std of images in [0, 1].

    Attributes
    ----------
    notes : tuple of str
        What was done to the file of weights, and which call of a module was taken where there are several.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, config: BackboneConfig, *, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        layer_modules(network, config.layers, config.uri)
        if len(types := {p.dtype for p in network.parameters() if p.is_floating_point()}) > 1 or types & HALF:
            network.float()  # images are float32; half precision is not enough for image gradients
        self.network = network.eval().requires_grad_(False)
        self._config = config
        self._layouts: dict[tuple[int, int], dict[str, Layout]] = {}
        self.notes: tuple[str, ...] = ()
        dtype = next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)
        self.register_buffer("mean", torch.tensor(mean, dtype=dtype).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=dtype).view(1, 3, 1, 1), persistent=False)
        self.train(False)

    @property
    def uri(self) -> str:
        """Where the network comes from."""
        return self._config.uri

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers that `forward` gives, in this order."""
        return self._config.layers

    @property
    def input_size(self) -> int | None:
        """Side in pixels to which images are resized (bilinear, antialiased); None = their own size."""
        return self._config.input_size

    @property
    def weights_sha256(self) -> str:
        """Hash of the network's tensors as they were loaded (`hash_tensors`), combined with that of the adapted
        tensors.
        """
        base = self._config.weights_sha256
        return (
            base if not self._config.adapted else hashlib.sha256((base + self._adapted_sha256()).encode()).hexdigest()
        )

    @property
    def untuned_sha256(self) -> str:
        """Hash of the network's tensors as they were loaded, without the adapted ones."""
        return self._config.weights_sha256

    @property
    def folded(self) -> bool:
        """Whether batch normalisation was folded into the convolutions; adapted weights fit one of the two cases."""
        return self._config.folded

    @property
    def adapted(self) -> dict[str, Tensor]:
        """Copies of the parameters that `adapt` was given, by name in the network after folding."""
        parameters = dict(self.network.named_parameters())
        return {name: parameters[name].detach().clone() for name in self._config.adapted}

    @property
    def settings(self) -> BackboneConfig:
        """What it was built from."""
        return self._config

    def config(self) -> dict[str, Any]:
        """JSON-able description; ``backbone_from_config`` builds the same backbone and checks its weights."""
        described = asdict(self._config) | {"layers": list(self.layers)}
        for name in ("built_for", "adapted", "folded", "calls", "reading"):
            del described[name]
        if calls := {layer: call for layer, call in self._config.calls or () if layer in self.layers}:
            described["calls"] = calls
        if self._config.reading > 1 and self.is_laid_out:
            described["reading"] = self._config.reading
        from_file = self._config.weights not in ("pretrained", "random")
        if from_file and getattr(self.network, "transform_input", False):
            described["transform_input"] = True
        if self._config.adapted:
            described |= {
                "built_for": list(self._config.built_for or self.layers),
                "adapted": self._adapted_sha256(),
                "folded": self._config.folded,
            }
        return described

    def select(self, layers: Sequence[str]) -> Backbone:
        """The same network (shared, not copied, with its adapted weights), cut after the last of `layers`, a part of
        its layers.
        """
        strangers = [layer for layer in layers if layer not in self.layers]
        if strangers:
            raise ValueError(
                f"layer {strangers[0]!r} is not among those this backbone was built for: {', '.join(self.layers)}"
            )
        return self.like(self.network, layers=tuple(dict.fromkeys(layers)))

    def adapt(self, tensors: Mapping[str, Tensor]) -> Backbone:
        """A copy with other parameters; this backbone and its network stay as they are.

        Parameters
        ----------
        tensors : dict of str to Tensor
            By name in ``network.named_parameters()``. Statistics of batch norms are not parameters and never change.

        Raises
        ------
        ValueError
            If a name is unknown, or a tensor of another shape or not finite.
        """
        network = copy.deepcopy(self.network)
        copy_parameters(tensors, network, self.uri)
        return self.like(network, adapted=tuple(sorted({*self._config.adapted, *tensors})))

    def like(self, network: nn.Module, **changes: Any) -> Backbone:
        """A backbone of a network of the same architecture, whose layouts are known as far as those of this one."""
        mean, std = self.mean.flatten().tolist(), self.std.flatten().tolist()
        other = Backbone(network, replace(self._config, **changes), mean=mean, std=std).to(self.mean)
        other._layouts, other.notes = self._layouts, self.notes
        return other

    def layer_paths(self) -> dict[str, str]:
        """The path of the module whose output each layer is."""
        names = [name for name, _ in self.network.named_modules(remove_duplicate=False)]
        return {layer: split_call(layer, names)[0] for layer in self.layers}

    def layer_modules(self) -> dict[str, nn.Module]:
        """The module of the network whose output each layer is."""
        return layer_modules(self.network, self.layers, self.uri)

    def tunable(self) -> dict[str, nn.Parameter]:
        """Parameters of the network under the names that `adapt` takes."""
        return dict(self.network.named_parameters())

    def _adapted_sha256(self) -> str:
        return hash_tensors({name: tensor.float() for name, tensor in self.adapted.items()})

    def train(self, mode: bool = True) -> Backbone:
        """Stay in evaluation mode, whatever `mode` is: the network is frozen."""
        super().train(False)
        return self

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Features of the named layers, as the network gives them.

        Features that are not (B, C', h, w) or (B, C') carry their `Layout`, found out with probe images the first time
        that images of their size are seen: `feature_maps` and `flatten_features` put them in order.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
            C = 1 (repeated to three channels) or 3. The range is checked where no gradient to CPU images is asked for.

        Returns
        -------
        dict of str to Tensor of shape (B, C', h, w), (B, h, w, C'), (B, T, C') or (B, C')
            In the dtype of the images.

        Raises
        ------
        ValueError
            If the images are of another shape, out of range or not finite, or the network cannot take their size.
        """
        check_images(images)
        side = self.input_size
        if side is not None and tuple(images.shape[-2:]) != (side, side):
            images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
        size = (int(images.shape[-2]), int(images.shape[-1]))
        try:
            known = self._known(size)
            features = self._run(images)
        except (ValueError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            if size in self._layouts:
                raise
            raise ValueError(_cannot_take(self.uri, size, error)) from error
        self._layouts.setdefault(size, known or {})
        if self._config.reading == 1:
            known = {name: earlier_layout(f.shape) for name, f in features.items()}
        return {name: lay_out(f.to(images.dtype), known.get(name, Layout())) for name, f in features.items()}

    def check_runs(self, size: tuple[int, int]) -> None:
        """Run the whole network on a probe image of `size`, and look at the layers, in a small image where that works.

        Raises
        ------
        ValueError
            If it fails before all layers are there, or they cannot be used as features.
        """
        with torch.no_grad():
            counts, error = count_calls(self.network, self._normalised(self._probe(size)))
        paths = self.layer_paths()
        if error is not None and any(path not in counts for path in paths.values()):
            raise ValueError(_cannot_take(self.uri, size, error)) from error
        if self._config.calls is None:
            self._choose(counts)
        small = (min(SMALL_PROBE, *size),) * 2
        with suppress(Exception):  # a network of one size refuses others in its own way
            self._layouts[small] = look(self._run, small, like=self.mean)
            return
        try:
            self._layouts[size] = look(self._run, size, like=self.mean)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(_cannot_take(self.uri, size, error)) from error

    def _known(self, size: tuple[int, int]) -> dict[str, Layout]:
        """The layouts of all layers for images of `size`; probes the network where they are not known."""
        if self._config.calls is None:
            counts, _ = count_calls(self.network, self._normalised(self._probe(size)))
            self._choose(counts)
        fixed = {n: lay for seen in self._layouts.values() for n, lay in seen.items() if not lay.of_one_size}
        own = fixed | self._layouts.get(size, {})
        if self._config.reading == 1 or all(layer in own for layer in self.layers):
            return own
        found = look(self._run, size, like=self.mean)
        if self.mean.device.type != "meta":
            self._layouts[size] = self._layouts.get(size, {}) | found
        return found

    def _choose(self, counts: Mapping[str, int]) -> None:
        """Settle which call of its module each layer is."""
        names = [name for name, _ in self.network.named_modules(remove_duplicate=False)]
        calls = chosen_calls(self.layers, names, counts)
        self._config = replace(self._config, calls=tuple(calls.items()))
        self.notes += tuple(
            f"{layer} is the last of {call} calls of this module; {layer}:1 names the first"
            for layer, call in calls.items()
            if layer in names
        )

    @property
    def is_laid_out(self) -> bool:
        """Whether any layer is known to give other features than (B, C, h, w) or (B, C)."""
        return any(
            layout != Layout() for seen in self._layouts.values() for n, layout in seen.items() if n in self.layers
        )

    def _probe(self, size: tuple[int, int]) -> Tensor:
        return torch.full((1, 3, *size), 0.5).to(self.mean)

    def _normalised(self, images: Tensor) -> Tensor:
        normalised = ((images.expand(-1, 3, -1, -1) - self.mean) / self.std).to(self._dtype())
        if self.uri.startswith(CHANNELS_LAST):
            normalised = normalised.contiguous(memory_format=torch.channels_last)
        return normalised

    def _dtype(self) -> torch.dtype:
        return next((p.dtype for p in self.network.parameters() if p.is_floating_point()), self.mean.dtype)

    def _run(self, images: Tensor) -> dict[str, Tensor]:
        """Outputs of the layers for images that are not resized."""
        return Capture(self.layer_modules(), dict(self._config.calls or ())).run(self.network, self._normalised(images))


def check_images(images: Tensor) -> None:
    """Refuse what are no images: another shape or type, or values out of [0, 1] where they can be read cheaply.

    Values are read on the CPU, where no gradient to the images is asked for: once per call, not in a loop of ascent.

    Raises
    ------
    ValueError
    """
    shape = tuple(images.shape)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not images.is_floating_point():
        raise ValueError(
            f"images of shape {shape}, {images.dtype}; expected floating (B, C, H, W), C = 1 or 3, in [0, 1]"
        )
    if min(shape[2:]) < 2:
        raise ValueError(
            f"images of {shape[2]} x {shape[3]} pixels; expected at least 2 x 2: a line of pixels is no image"
        )
    if images.device.type != "cpu" or images.requires_grad or not images.numel():
        return
    low, high = (float(value) for value in images.detach().aminmax())
    if not (low >= -SLACK and high <= 1 + SLACK):
        causes = {
            "numbers that are not finite": low != low or high != high,
            "pixels in 0 ... 255. Fix: divide by 255": high > 1 + SLACK and low >= -SLACK,
            "images that were normalised. Fix: pass pixel value / 255, the network normalises by itself": low < -SLACK,
        }
        cause = next(cause for cause, holds in causes.items() if holds)
        raise ValueError(f"images with values from {low:.3g} to {high:.3g}; expected [0, 1]. Likely cause: {cause}")


def _cannot_take(uri: str, size: tuple[int, int], error: Exception) -> str:
    return (
        f"{uri} cannot take images of {size[0]} x {size[1]} pixels ({type(error).__name__}: "
        f"{' '.join(str(error).split())[:200]}). Likely cause: a network of one input size, or images smaller than it "
        "reduces them, or a network that takes no images (videos, pairs). Fix: pass input_size=N, the size it was "
        "trained with (224 for most), or name another network"
    )
