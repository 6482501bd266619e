"""Encoders: images in [0, 1] -> predicted responses in the recorded unit; saved and loaded with checks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from encoders.backbones import Backbone
from encoders.backbones.multiple import Backbones, open_config
from encoders.readouts import Readout

from .info import EncoderInfo, Judgement
from .storage import SCHEMA, fingerprint_of, read_files, restored_readout, write_files
from .uncertainty import CONFIDENCE, Uncertainty, spread_over_layers


class _Predictor(nn.Module):
    """What `Encoder` and `Ensemble` share: the network, one or several readouts, and the description."""

    natural_mean: Tensor
    natural_sd: Tensor
    output_gain: Tensor
    output_offset: Tensor

    def __init__(
        self,
        backbone: Backbone | Backbones,
        readouts: Sequence[Readout],
        info: EncoderInfo,
        *,
        natural_mean: Tensor,
        natural_sd: Tensor,
        uncertainty: Uncertainty | None = None,
        adjusted: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        sites = len(info.site_ids)
        for readout in readouts:
            if readout.n_sites != sites or not set(readout.layers) <= set(backbone.layers):
                raise ValueError(
                    f"a readout of {readout.n_sites} sites and layer {', '.join(readout.layers)}; expected {sites} "
                    f"sites and some of the backbone's layers {', '.join(backbone.layers)}"
                )
        if natural_mean.shape != (sites,) or natural_sd.shape != (sites,):
            raise ValueError(f"natural_mean and natural_sd: expected shape ({sites},), one number per site")
        self.backbone, self.readouts, self.info = backbone, nn.ModuleList(readouts), info
        self.register_buffer("natural_mean", natural_mean.detach().float())
        self.register_buffer("natural_sd", natural_sd.detach().float())
        gain, offset = adjusted or (torch.ones(sites), torch.zeros(sites))
        if gain.shape != (sites,) or offset.shape != (sites,) or not bool((gain >= 0).all()):
            raise ValueError(f"adjusted: expected a gain >= 0 and an offset of shape ({sites},) each")
        self.register_buffer("output_gain", gain.detach().to(self.natural_mean))
        self.register_buffer("output_offset", offset.detach().to(self.natural_mean))
        self.uncertainty = uncertainty
        self.requires_grad_(False)
        self.eval()

    @property
    def site_ids(self) -> tuple[str, ...]:
        """Columns of the output."""
        return self.info.site_ids

    @property
    def target_ids(self) -> tuple[str, ...]:
        """Sites reliable enough to be driven."""
        return self.info.target_ids

    @property
    def response_unit(self) -> str:
        """Unit of the output."""
        return self.info.response_unit

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        return self.info.image_shape

    @property
    def field_of_view_deg(self) -> float:
        """Width of the image in degrees of visual angle."""
        return self.info.field_of_view_deg

    @property
    def background(self) -> int:
        """Pixel value around and between images."""
        return self.info.background

    @property
    def colour(self) -> str:
        """``grey`` or ``rgb``."""
        return self.info.colour

    @property
    def scores(self) -> dict[str, list[float | None]]:
        """Scores of the fit, each a list in the order of `site_ids`; None = unknown."""
        return self.info.scores

    @property
    def fingerprint(self) -> str:
        """``enc_`` + 8 hex digits of SHA-256 over readouts, backbone weights and description."""
        return fingerprint_of(self._description(), self._tensors())

    def train(self, mode: bool = True) -> _Predictor:
        """Stay in evaluation mode: a fitted encoder has no other."""
        super().train(False)
        return self

    @torch.no_grad()
    def judge(self, images: Tensor, *, level: float = CONFIDENCE, repeats: float | None = None) -> Judgement:
        """Predictions with intervals and distances to the fitted images, in one pass of the network.

        Parameters
        ----------
        images : Tensor of shape (B, C, H, W), in [0, 1]
        level : float
            Confidence of the interval: the probability that it holds the response.
        repeats : float or None
            The interval is for the mean of so many trials (1 = a single trial). None = for the expected response,
            without trial noise.

        Raises
        ------
        ValueError
            If the encoder was made without `uncertainty`.
        """
        if self.uncertainty is None:
            raise ValueError(
                "this encoder carries no uncertainty. Likely cause: it was put together by hand. Fix: fit it with "
                "fit_encoder, or pass uncertainty=fit_uncertainty(...)"
            )
        features = self.backbone(images)
        answers = torch.stack([readout(features) for readout in self.readouts])  # (M, B, U), as they were calibrated
        mean = answers.mean(0)
        spread = spread_over_layers(answers, [tuple(readout.layers) for readout in self.readouts])  # type: ignore[arg-type]
        half = self.uncertainty.half_width(mean, spread, level=level, repeats=repeats)
        distance = self.uncertainty.distance(features)
        wider = self.output_gain.clamp_min(1.0)  # never narrower than left-out images showed
        sd, half = wider * self.uncertainty.variance(mean, spread, repeats).sqrt(), wider * half
        mean = self.adjust(mean)
        return Judgement(
            mean=mean,
            sd=sd,
            lower=mean - half,
            upper=mean + half,
            distance=distance,
            outside=distance > self.uncertainty.limit,
        )

    def adjust(self, responses: Tensor) -> Tensor:
        """Responses of the encoder from those of its readouts (..., U): gain * response + offset, per site."""
        return self.output_gain * responses + self.output_offset

    def adjusted(self, gain: Tensor, offset: Tensor) -> Self:
        """The same encoder with the responses gain * response + offset, gain and offset (U,), gain >= 0.

        The response is what `forward` gives now. `natural_mean` and `natural_sd` stay: they are what was measured.
        """
        gain, offset = gain.to(self.output_gain), offset.to(self.output_offset)
        both = (gain * self.output_gain, gain * self.output_offset + offset)
        natural = {"natural_mean": self.natural_mean, "natural_sd": self.natural_sd}
        return self._with(natural, both)

    @property
    def is_adjusted(self) -> bool:
        """Whether any site's gain is not 1 or its offset not 0; see `adjusted`."""
        return bool((self.output_gain != 1).any()) or bool((self.output_offset != 0).any())

    def unadjusted(self) -> Self:
        """The same encoder without gain and offset: it gives the responses of its readouts."""
        natural = {"natural_mean": self.natural_mean, "natural_sd": self.natural_sd}
        return self._with(natural, (torch.ones_like(self.output_gain), torch.zeros_like(self.output_offset)))

    def _with(self, natural: dict[str, Tensor], adjusted: tuple[Tensor, Tensor]) -> Self:
        raise NotImplementedError

    def save(self, folder: str | Path) -> Path:
        """Write encoder.safetensors and encoder.json into ``folder/<fingerprint>``, both or neither; return that path.

        Only those weights of the network are stored that were adapted to the recording. Of the others the files hold
        name and hash.
        """
        fingerprint = self.fingerprint
        target = Path(folder) / fingerprint
        if target.exists():
            load(target)
            return target
        write_files(target, {"schema": SCHEMA, "fingerprint": fingerprint} | self._description(), self._tensors())
        return target

    @staticmethod
    def load(path: str | Path, *, weights: str | Path | None = None) -> Encoder | Ensemble:
        """See `load`."""
        return load(path, weights=weights)

    def _description(self) -> dict[str, Any]:
        readouts = [readout.config() for readout in self.readouts]  # type: ignore[operator]
        return {
            "kind": type(self).__name__.lower(),
            "backbone": self.backbone.config(),
            "readouts": readouts,
            "info": json.loads(json.dumps(asdict(self.info), allow_nan=False)),
        }

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {"natural_mean": self.natural_mean, "natural_sd": self.natural_sd}
        if self.is_adjusted:
            tensors |= {"output_gain": self.output_gain, "output_offset": self.output_offset}
        for m, readout in enumerate(self.readouts):
            tensors |= {f"readouts.{m}.{name}": tensor for name, tensor in readout.state_dict().items()}
        tensors |= {f"backbone.{name}": tensor for name, tensor in self.backbone.adapted.items()}
        if self.uncertainty is not None:
            tensors |= {f"uncertainty.{name}": tensor for name, tensor in self.uncertainty.state_dict().items()}
        return {name: tensor.detach().to("cpu", torch.float32).contiguous() for name, tensor in tensors.items()}


class Encoder(_Predictor):
    """One readout on a frozen backbone: ``forward (B, C, H, W) in [0, 1] -> (B, U)`` in `response_unit`.

    Parameters
    ----------
    backbone : Backbone or Backbones
    readout : Readout
        Of some of the backbone's layers.
    info : EncoderInfo
    natural_mean, natural_sd : Tensors of shape (U,)
        Mean and SD of the expected responses to the natural images of the fit (`encoders.metrics.signal_sd`).
    uncertainty : Uncertainty, optional
        Without it there are no intervals and no distances.
    adjusted : (gain, offset), Tensors of shape (U,), optional
        Applied to the readout's responses; see the method `adjusted`. Default: 1 and 0.
    """

    def __init__(
        self,
        backbone: Backbone | Backbones,
        readout: Readout,
        info: EncoderInfo,
        *,
        natural_mean: Tensor,
        natural_sd: Tensor,
        uncertainty: Uncertainty | None = None,
        adjusted: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        natural = {"natural_mean": natural_mean, "natural_sd": natural_sd}
        super().__init__(backbone, [readout], info, **natural, uncertainty=uncertainty, adjusted=adjusted)

    def _with(self, natural: dict[str, Tensor], adjusted: tuple[Tensor, Tensor]) -> Self:
        return type(self)(
            self.backbone,
            self.readout,
            self.info,
            **natural,
            uncertainty=self.uncertainty,
            adjusted=adjusted,
        )

    @property
    def members(self) -> tuple[Encoder, ...]:
        """The encoder itself, as its only member."""
        return (self,)

    @property
    def readout(self) -> Readout:
        """The one readout."""
        readout = self.readouts[0]
        assert isinstance(readout, Readout)
        return readout

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses, shape (B, U)."""
        return self.adjust(self.readout(self.backbone(images)))


class Ensemble(_Predictor):
    """Several readouts on one frozen backbone: ``forward (B, C, H, W) in [0, 1] -> (M, B, U)``, in one pass.

    Parameters
    ----------
    backbone : Backbone or Backbones
        Gives the layers of all members.
    readouts : sequence of M Readout
    info : EncoderInfo
    natural_mean, natural_sd : Tensors of shape (U,)
    uncertainty : Uncertainty, optional
    adjusted : (gain, offset), Tensors of shape (U,), optional
    """

    @property
    def members(self) -> tuple[Encoder, ...]:
        """Each member as an encoder; they share the network."""
        natural = {"natural_mean": self.natural_mean, "natural_sd": self.natural_sd}
        both = (self.output_gain, self.output_offset)
        return tuple(
            Encoder(self.backbone, readout, self.info, **natural, adjusted=both)  # type: ignore[arg-type]
            for readout in self.readouts
        )

    def _with(self, natural: dict[str, Tensor], adjusted: tuple[Tensor, Tensor]) -> Self:
        return type(self)(
            self.backbone,
            list(self.readouts),  # type: ignore[arg-type]
            self.info,
            **natural,
            uncertainty=self.uncertainty,
            adjusted=adjusted,
        )

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses of each member, shape (M, B, U)."""
        features = self.backbone(images)
        return self.adjust(torch.stack([readout(features) for readout in self.readouts]))

    def mean(self, images: Tensor) -> Tensor:
        """Mean over members, shape (B, U)."""
        return self(images).mean(0)  # type: ignore[no-any-return]

    def sd(self, images: Tensor) -> Tensor:
        """Standard deviation over members (ddof 1), shape (B, U); NaN for a single member."""
        responses = self(images)
        return responses.std(0) if len(responses) > 1 else torch.full_like(responses[0], float("nan"))


def load(path: str | Path, *, weights: str | Path | None = None) -> Encoder | Ensemble:
    """Read an encoder that `save` wrote, and check that it is the one that was saved.

    Parameters
    ----------
    path : path
        The folder ``enc_...``.
    weights : path, optional
        Where the file of the network's weights lies now, if it was a local file and has moved.

    Raises
    ------
    ValueError
        If the weights, the description or the backbone's weights are not those that were saved.
    """
    record, tensors = read_files(Path(path))
    adapted = {name.removeprefix("backbone."): t for name, t in tensors.items() if name.startswith("backbone.")}
    network = open_config(record["backbone"], weights=weights, adapted=adapted)
    readouts = [restored_readout(m, config, tensors) for m, config in enumerate(record["readouts"])]
    info = EncoderInfo(**record["info"])
    natural = {"natural_mean": tensors["natural_mean"], "natural_sd": tensors["natural_sd"]}
    trust = {name.removeprefix("uncertainty."): t for name, t in tensors.items() if name.startswith("uncertainty.")}
    uncertainty = Uncertainty(**trust) if trust else None
    both = (tensors["output_gain"], tensors["output_offset"]) if "output_gain" in tensors else None
    if record["kind"] == "encoder":
        return Encoder(network, readouts[0], info, **natural, uncertainty=uncertainty, adjusted=both)
    return Ensemble(network, readouts, info, **natural, uncertainty=uncertainty, adjusted=both)
