"""The arms of the study of control: how each of them makes its images. `v4_control.py` runs them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from synth import fourier, jitter
from synth.recipes.bashivan2019 import bashivan_2019
from synth.recipes.few_steps import quick


@dataclass(frozen=True)
class Arm:
    """How the images of one arm are made; the defaults are the project's."""

    encoder: str = "default"
    start: str = "natural"
    seeds: int = 1
    steps: int = 60
    decay: float = 1.75
    jitter: float = 0.07
    kappa: float = 0.5
    chosen_by: str = "validator"
    variables: str = "fourier"
    learning_rate: float = 0.05
    temperature: float = 1.0
    unit: str = "signal"
    about: str = field(default="", compare=False)


ARMS = {
    "photographs": Arm(steps=0, about="the best measured photograph itself, at the controllers' luminance and contrast"),
    "default": Arm(about="the project's recipe: three readouts on three depths, start at the best measured photograph"),
    "noise start": Arm(start="noise", about="from noise"),
    "decay 1": Arm(decay=1.0, about="Fourier amplitudes 1/f"),
    "SD of means": Arm(unit="means", about="z in SDs of the measured means over photographs, trial noise included"),
    "default final": Arm(encoder="frozen_final", about="the default's encoder once more, fitted to all photographs (final_fit): 80 % of them in each member, not 64 %"),
    "rate 0.02": Arm(learning_rate=0.02, about="smaller steps"),
    "rate 0.01": Arm(learning_rate=0.01, about="much smaller steps"),
    "no jitter": Arm(jitter=0.0, about="no random shifts"),
    "one readout": Arm(encoder="single", kappa=0.0, about="one readout, on the middle depth"),
    "1/f baseline": Arm(encoder="single", start="noise", decay=1.0, kappa=0.0, about="one readout, noise start, 1/f Fourier: the customary recipe"),
    "quick": Arm(variables="quick", steps=10, jitter=0.0, about="ten large steps (synth.recipes.quick)"),
    "quick 30": Arm(variables="quick", steps=30, jitter=0.0, about="thirty of them"),
    "quick 60 shifted": Arm(variables="quick", steps=60, about="sixty of them, with the default shifts"),
    "Bashivan 2019": Arm(encoder="single", start="noise", kappa=0.0, variables="bashivan", steps=200, about="one readout, and that paper's own recipe (synth.recipes.bashivan_2019), jitter to scale"),
    "more data": Arm(encoder="more", about="10 % of photographs held out, ten folds (81 % of them in each member, not 64 %)"),
    "tuned": Arm(encoder="tuned", about="more data, and the network tuned end to end"),
    "two tuned": Arm(encoder="two", about="tuned EfficientNet-Lite0 and tuned EfficientNet-Lite2, all members of both"),
    "two tuned T 0.3": Arm(encoder="two", temperature=0.3, about="the same; one-hot softmax of a lower temperature, closer to the margin"),
    "two tuned T 2": Arm(encoder="two", temperature=2.0, about="the same; of a higher temperature"),
    "two tuned kappa 1.5": Arm(encoder="two", kappa=1.5, about="the same; three times the caution about members that disagree"),
    "two tuned by a project": Arm(encoder="own", about='preset = "two_networks", fine_tune = 8: 58 % of the photographs in each member, 72 % in the tuning'),
    "two tuned other days": Arm(encoder="own_other", about="the same, beginning with networks that other recordings of the animal tuned (--networks)"),
    "by a project final": Arm(encoder="own_final", about="the first once more, fitted to all photographs (final_fit): 80 % of them in each member, all in the tuning"),
    "ridge on tuned final": Arm(encoder="own_ridge_final", about="ridge readouts, fitted to all photographs, on the networks of that final encoder"),
    "families final": Arm(encoder="own_mixed_final", about="both: the mean of these ridge readouts and of that encoder's factorised ones"),
    "families final kappa 0": Arm(encoder="own_mixed_final", kappa=0.0, about="the same without caution about members that disagree"),
    "other days final": Arm(encoder="own_other_final", about="the second once more, fitted to all photographs"),
    "four tuned": Arm(encoder="four", about="two of each, fitted and tuned on other draws of photographs"),
    "strong": Arm(encoder="two", seeds=3, chosen_by="encoder", about="two tuned networks, the encoder's own choice of three starts"),
}  # fmt: skip


def recipe(arm: Arm, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Variables, transforms and rule of an arm, as `ascend` takes them."""
    if arm.variables == "bashivan":
        published = bashivan_2019(shape, jitter_px=round(19 * shape[2] / 299))
        return {name: published[name] for name in ("parameterisation", "rule", "learning_rate", "transforms")}
    if arm.variables == "quick":
        chosen = quick(shape)
        moves = [jitter(arm.jitter)] if arm.jitter else []
        return {name: chosen[name] for name in ("parameterisation", "rule", "learning_rate")} | {"transforms": moves}
    moves = [jitter(arm.jitter)] if arm.jitter else []
    return {
        "parameterisation": fourier(shape, decay=arm.decay),
        "transforms": moves,
        "learning_rate": arm.learning_rate,
    }
