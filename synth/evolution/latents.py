"""What evolution moves: codes of a few hundred to a few thousand numbers, each of them an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from synth.contract import check_shape, describe
from synth.devices import device_named
from synth.diffusion.run import fitted
from synth.diffusion.sampling import sample
from synth.diffusion.solvers import ddim
from synth.parameterisations.decoders import Decoder, Map, encoded
from synth.priors.prior import Prior
from synth.steady import check_frozen

from .fourier_code import FourierCode, first_code

__all__ = ["DecoderLatent", "FourierCode", "Latent", "PriorNoise"]


class Latent(Protocol):
    """A code of `size` numbers, whose unit is one SD of the codes that the latent was made for, and its images.

    Attributes
    ----------
    size : int
        Numbers per code, D.
    shape : (C, H, W) of the images
    """

    @property
    def size(self) -> int:
        """Numbers per code, D."""
        ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the images."""
        ...

    def start(self, seed: int) -> NDArray[np.float64]:
        """A code (D,) to start from, drawn from a generator of its own."""
        ...

    def decode(self, codes: ArrayLike) -> Tensor:
        """Images (n, C, H, W) in [0, 1], float32, of codes (n, D), each by itself; before the display's constraints."""
        ...

    def encode(self, images: Tensor) -> NDArray[np.float64]:
        """Codes (n, D) whose images are near to `images` (n, C, H, W) in [0, 1].

        Raises
        ------
        ValueError
            The latent has no way back.
        """
        ...

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        ...


class PriorNoise:
    """The noise that a prior makes an image of, without chance on the way (DDIM, eta 0; Song, Meng & Ermon 2021).

    Every code is brought to the norm of standard normal noise, where the prior knows it, so that only its direction
    counts. There is no way back from an image.

    Parameters
    ----------
    prior : Prior
    shape : (C, H, W) of the images
        The prior's are brought to it.
    steps : int
        Noise levels, each of them one call of the prior per image.
    """

    def __init__(
        self, prior: Prior, shape: Sequence[int], *, steps: int = 10, device: torch.device | str = "cpu"
    ) -> None:
        if steps < 1:
            raise ValueError(f"{steps} steps; expected at least 1")
        check_frozen(prior, "prior")
        self.shape, self.steps, self.device = check_shape(shape), steps, device_named(device)
        self.prior: Prior = prior.to(self.device)
        self.size = int(np.prod(self.prior.shape))

    def start(self, seed: int) -> NDArray[np.float64]:
        """Standard normal noise, (D,)."""
        return first_code(self.size, seed)

    @torch.no_grad()
    def decode(self, codes: ArrayLike) -> Tensor:
        """Images (n, C, H, W) in [0, 1] of codes (n, D)."""
        values = np.asarray(codes, dtype=np.float64)
        norms = np.linalg.norm(values, axis=1, keepdims=True)
        values = values * (np.sqrt(self.size) / np.maximum(norms, np.finfo(np.float64).tiny))
        noise = torch.from_numpy(values).float().reshape(-1, *self.prior.shape).to(self.device)
        clean = sample(
            self.prior, ddim().begin(self.prior, self.steps, self.device, travels=False), noise, generators=()
        )
        return fitted(self.prior.decode(clean).float(), self.shape).clamp(0, 1)

    def encode(self, images: Tensor) -> NDArray[np.float64]:
        """Refused: a prior gives no noise back."""
        raise ValueError(
            f"the noise of a prior cannot be found from {len(images)} images; expected a latent with a way back, such "
            "as the Fourier code, to start from given images"
        )

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {
            "name": "prior",
            "size": self.size,
            "shape": list(self.shape),
            "steps": self.steps,
            "solver": ddim().describe(),
            "prior": self.prior.describe(),
        }


class DecoderLatent:
    """The latent of a fixed decoder, such as a generative network (Ponce et al. 2019).

    Parameters
    ----------
    decoder : callable, latents (n, *latent) -> images (n, C, h, w)
        Pixel values in [0, 1]; asked before the first image, as for `synth.parameterisations.latent`.
    latent : shape of one latent
    decoded : (C, h, w) of the decoder's images
    shape : (C, H, W) of the images, or None = those of the decoder
    sd : float
        SD of the latents that the decoder knows: the unit of the code.
    encode : callable, images (n, C, h, w) -> latents (n, *latent), or None
        Without it there is no way back.
    """

    def __init__(
        self,
        decoder: Map,
        latent: Sequence[int],
        decoded: Sequence[int],
        *,
        shape: Sequence[int] | None = None,
        sd: float = 1.0,
        encode: Map | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.latent, self.decoded = tuple(int(n) for n in latent), check_shape(decoded)
        if not self.latent or min(self.latent) < 1 or not sd > 0:
            raise ValueError(f"latents of shape {self.latent} and SD {sd}; expected sizes of at least 1, an SD above 0")
        self.shape = self.decoded if shape is None else check_shape(shape)
        self.size, self.sd, self.device = int(np.prod(self.latent)), sd, device_named(device)
        self._source, self._encode = decoder, encode
        for network in (decoder, encode):
            if isinstance(network, torch.nn.Module):
                network.to(self.device)
        self._decoder = Decoder.asked(decoder, self.latent, self.decoded, sd=sd, device=self.device)

    @property
    def invertible(self) -> bool:
        """Whether there is a way back from images to codes."""
        return self._encode is not None

    def start(self, seed: int) -> NDArray[np.float64]:
        """A standard normal code, (D,)."""
        return first_code(self.size, seed)

    @torch.no_grad()
    def decode(self, codes: ArrayLike) -> Tensor:
        """Images (n, C, H, W) in [0, 1] of codes (n, D)."""
        values = torch.from_numpy(self.sd * np.asarray(codes, dtype=np.float64)).float()
        images = self._decoder.decode(values.reshape(-1, *self.latent).to(self.device))
        return fitted(images.float(), self.shape).clamp(0, 1)

    def encode(self, images: Tensor) -> NDArray[np.float64]:
        """Codes (n, D) by the `encode` that was given."""
        if self._encode is None:
            raise ValueError(
                f"the decoder has no way back from {len(images)} images to its latents; expected encode=, or a latent "
                "such as the Fourier code, to start from given images"
            )
        wanted = fitted(images.float().to(self.device), self.decoded)
        values = encoded(self._encode, wanted, (len(wanted), *self.latent))
        codes: NDArray[np.float64] = values.double().cpu().reshape(len(wanted), -1).numpy() / self.sd
        return codes

    def describe(self) -> dict[str, Any]:
        """JSON-able name and settings."""
        return {
            "name": "decoder",
            "size": self.size,
            "shape": list(self.shape),
            "latent": list(self.latent),
            "sd": self.sd,
            "decoder": describe(self._source),
            "encode": self._encode is not None,
        }
