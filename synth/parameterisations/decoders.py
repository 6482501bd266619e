"""A decoder of latents, asked before it makes images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from synth.contract import draw
from synth.probe import ask, check_weights, settled, works
from synth.steady import check_frozen, tensor_of, watched

__all__ = ["Decoder", "encoded"]

Map = Callable[[Tensor], Tensor]
PROBES = 4  # latents
FAR = (-3.0, 4.0)  # a linear decoder may well leave [0, 1], but not by so much
OUTSIDE = 1 / 3  # share of values outside [0, 1] at which a picture is clipped beyond recognition
BELOW = 0.05  # share below 0 of a decoder that gives [-1, 1]
EDGE = 1e-3


@dataclass(frozen=True)
class Decoder:
    """A decoder that has been asked.

    Attributes
    ----------
    decode : callable, latents (B, *size) -> images (B, C, H, W)
        The decoder, behind a change of floating-point type where it takes another than float32.
    wide : bool
        It takes float64 too.
    """

    decode: Map
    wide: bool

    def dtype(self, start: Tensor | None) -> torch.dtype:
        """The type of the latents: that of a start image where the decoder takes it, else float32."""
        return torch.float64 if self.wide and start is not None and start.dtype == torch.float64 else torch.float32

    @staticmethod
    def asked(
        decoder: Map, size: Sequence[int], shape: tuple[int, int, int], *, sd: float, device: torch.device
    ) -> Decoder:
        """Ask a decoder of latents of that `size` and `sd` for images of that `shape` (C, H, W).

        Raises
        ------
        ValueError
            Training mode, chance, images that depend on the batch, a changed buffer, another shape, values that are not
            pixel values in [0, 1]. The message says how to mend it.
        """
        check_frozen(decoder, "decoder")
        check_weights(decoder, "decoder")
        latents = sd * draw([torch.Generator().manual_seed(i) for i in range(PROBES)], size).to(device)
        with watched(decoder, "decoder", device), torch.no_grad():
            decode, takes = settled(decoder, latents[:1], "decoder")
            wide = takes is None and works(decode, latents[:1].double())

        def answer(some: Tensor) -> Tensor:
            images = tensor_of(decode(some), "decoder", "of images (B, C, H, W)")
            if tuple(images.shape) != (len(some), *shape):
                raise ValueError(
                    f"the decoder gives images of shape {tuple(images.shape)}; expected {(len(some), *shape)}. Likely "
                    "cause: another image size, or a latent of another shape"
                )
            return images

        check_range(ask(answer, latents, what="decoder", watch=decoder))
        return Decoder(decode, wide)


def check_range(images: Tensor) -> None:
    """Refuse images (B, C, H, W) of a decoder that are not pixel values in [0, 1].

    Raises
    ------
    ValueError
        NaN, values as far out as those of [0, 255] or [-1, 1], or a third of the values outside.
    """
    low, high = float(images.min()), float(images.max())
    below, above = (float(beyond.float().mean()) for beyond in (images < -EDGE, images > 1 + EDGE))
    outside = below + above
    if not (low >= FAR[0] and high <= FAR[1]):
        raise ValueError(
            f"the decoder gives pixels from {low:g} to {high:g}; expected [0, 1]. Likely cause: a network that gives "
            "[0, 255]: wrap it, as in lambda z: decoder(z) / 255"
        )
    if low < -0.25 and low >= -1 - EDGE and high <= 1 + EDGE and below >= BELOW:
        raise ValueError(
            f"the decoder gives pixels from {low:g} to {high:g}, {below:.0%} of them below 0, which would be cut to "
            "black; expected [0, 1]. Likely cause: a network that gives [-1, 1]: wrap it, as in lambda z: "
            "(decoder(z) + 1) / 2"
        )
    if outside >= OUTSIDE:
        raise ValueError(
            f"the decoder gives pixels from {low:g} to {high:g}, {outside:.0%} of them outside [0, 1], which would be "
            "cut to black and white; expected few. Give the SD of the latents that it was made for (sd=), or wrap it, "
            "as in lambda z: torch.sigmoid(decoder(z))"
        )


def encoded(encode: Map, images: Tensor, expected: Sequence[int]) -> Tensor:
    """Latents of `images` by the user's `encode`, of the shape `expected`; its buffers are left as they are.

    Raises
    ------
    ValueError
        Training mode, or no finite latents of that shape.
    """
    with watched(encode, "encode network", images.device), torch.no_grad():
        call, _ = settled(encode, images[:1], "encode network")
        values = tensor_of(call(images), "encode network", "of latents")
    if tuple(values.shape) != tuple(expected) or not bool(torch.isfinite(values).all()):
        raise ValueError(
            f"encode gives latents of shape {tuple(values.shape)}, finite: {bool(torch.isfinite(values).all())}; "
            f"expected finite ones of shape {tuple(expected)}, one per image"
        )
    return values.to(images.dtype).clone()
