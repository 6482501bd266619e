"""Predicted responses to the stimuli of a round."""

from __future__ import annotations

from collections.abc import Callable

import torch

from encoders import Encoder, Ensemble
from protocols.arrays import Floats, Pixels
from protocols.progress import counted


def predictor(
    encoder: Encoder | Ensemble, validator: Encoder | Ensemble | None, device: str
) -> Callable[[Pixels], dict[str, Floats]]:
    """uint8 images (S, H, W, C) -> predictions (S, U) by encoder (mean, SD over members) and validator, in
    micro-batches of 32.

    An encoder that knows its training images also gives their ``distance`` and ``outside``, (S,).
    """

    @torch.no_grad()
    def predict(pixels: Pixels) -> dict[str, Floats]:
        names = ("predicted", "predicted_sd", "validator_predicted", "distance", "outside")
        parts: dict[str, list[torch.Tensor]] = {name: [] for name in names}
        for first in counted(range(0, len(pixels), 32), "predictions"):
            images = (torch.from_numpy(pixels[first : first + 32]).movedim(-1, 1).float() / 255).to(device)
            answers = encoder(images)
            members = answers if answers.ndim == 3 else answers[None]
            parts["predicted"].append(members.mean(0))
            parts["predicted_sd"].append(members.std(0) if len(members) > 1 else torch.full_like(members[0], torch.nan))
            if encoder.uncertainty is not None:
                judgement = encoder.judge(images)
                parts["distance"].append(judgement.distance)
                parts["outside"].append(judgement.outside)
            if validator is not None:
                judged = validator(images)
                parts["validator_predicted"].append(judged if judged.ndim == 2 else judged.mean(0))
        return {name: torch.cat(values).double().cpu().numpy() for name, values in parts.items() if values}

    return predict
