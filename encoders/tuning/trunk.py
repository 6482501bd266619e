"""One encoder of all the sites of several recordings, from their encoders with one network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from encoders.encoder import Encoder, Ensemble
from encoders.info import EncoderInfo
from encoders.readouts import CombinedReadout, Readout
from encoders.uncertainty import Uncertainty, with_familiar

PER_SITE = ("error_floor", "noise_floor", "noise_slope", "width")


def join_encoders(encoders: Sequence[Encoder | Ensemble], names: Sequence[str]) -> Ensemble:
    """One encoder of the sites of all `encoders`, side by side, in their units.

    It passes network and sites on to later recordings: `fit_encoder(..., networks_from=trunk)` begins with its network,
    and the readout "population" reads new sites through its sites.

    Parameters
    ----------
    encoders : sequence of R Encoder or Ensemble
        Not adjusted, with one network (the same layers and tensors), and with members that read the same layers in the
        same order.
    names : sequence of R str
        Of the recordings, all different: site "s1" of "day1" is "day1_s1".

    Returns
    -------
    Ensemble
        Member m holds the m-th members of all encoders. Intervals are those of each site's own encoder, except that one
        gain of the members' spread, the mean, serves all.

    Raises
    ------
    ValueError
        If networks, members, units or displays differ, or names repeat.
    """
    if not encoders or len(set(names)) != len(names) or len(names) != len(encoders):
        raise ValueError(f"{len(encoders)} encoders named {', '.join(names)}; expected one name each, all different")
    first = encoders[0]
    for name, other in zip(names, encoders, strict=True):
        for what, of in _COMMON.items():
            if of(other) != of(first):
                raise ValueError(
                    f"encoder {other.fingerprint} ({name}) differs from {first.fingerprint} ({names[0]}) in {what}; "
                    "expected the same. Likely cause: tuned apart, or fitted with other options. Fix: tune them "
                    "together (tune_together)"
                )
    columns = list(zip(*(encoder.readouts for encoder in encoders), strict=True))
    members = [CombinedReadout([part for part in column if isinstance(part, Readout)]) for column in columns]
    return Ensemble(
        first.backbone,
        members,
        _info(encoders, names),
        natural_mean=torch.cat([encoder.natural_mean for encoder in encoders]),
        natural_sd=torch.cat([encoder.natural_sd for encoder in encoders]),
        uncertainty=_uncertainty(encoders),
    )


_COMMON: dict[str, Callable[[Encoder | Ensemble], object]] = {
    "its network": lambda encoder: (encoder.backbone.uri, encoder.backbone.layers, encoder.backbone.weights_sha256),
    "the layers of its members": lambda encoder: [readout.layers for readout in encoder.readouts],
    "the unit of its responses": lambda encoder: encoder.response_unit,
    "its display": lambda encoder: (encoder.image_shape, encoder.field_of_view_deg, encoder.background, encoder.colour),
    "gain and offset": lambda encoder: encoder.is_adjusted or None,
}


def _info(encoders: Sequence[Encoder | Ensemble], names: Sequence[str]) -> EncoderInfo:
    """The description of the first, with the sites and scores of all."""
    pairs = list(zip(names, encoders, strict=True))
    kept = set.intersection(*(set(encoder.scores) for encoder in encoders))
    tuned = encoders[0].info.settings.get("fine_tuning", {})
    parts = [{"name": name, "encoder": encoder.fingerprint, "sites": len(encoder.site_ids)} for name, encoder in pairs]
    return replace(
        encoders[0].info,
        site_ids=tuple(f"{name}_{site}" for name, encoder in pairs for site in encoder.site_ids),
        target_ids=tuple(f"{name}_{site}" for name, encoder in pairs for site in encoder.target_ids),
        scores={score: [v for encoder in encoders for v in encoder.scores[score]] for score in sorted(kept)},
        settings={"trunk": parts} | ({"fine_tuning": tuned} if tuned else {}),
    )


def _uncertainty(encoders: Sequence[Encoder | Ensemble]) -> Uncertainty | None:
    """Intervals of each site's own encoder, and distances to the images of all; None if one has none."""
    own = [encoder.uncertainty for encoder in encoders]
    known = [part for part in own if part is not None]
    if len(known) < len(own):
        return None
    states: list[dict[str, Tensor]] = [{k: t.cpu() for k, t in part.state_dict().items()} for part in known]
    tensors = states[0] | {name: torch.cat([state[name] for state in states]) for name in PER_SITE}
    tensors["error_gain"] = torch.stack([state["error_gain"] for state in states]).mean(0)
    rows = torch.cat([state["familiar"] * state["familiar_scale"] + state["familiar_mean"] for state in states])
    return with_familiar(Uncertainty(**tensors), rows, [str(i) for i in range(len(rows))])
