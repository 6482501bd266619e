"""Section ``[arms]`` of a project.toml: the control images shown beside the confirmatory controllers (docs/arms.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ._config_section import Count, Section


class ArmsConfig(Section):
    """Section ``[arms]``: control images shown beside the confirmatory controllers."""

    kinds: tuple[Literal["contrast_matched", "natural_raised", "predicted_natural", "phase_scrambled"], ...] = Field(
        default=("contrast_matched", "natural_raised", "predicted_natural", "phase_scrambled"),
        strict=False,
        description="[names] Control arms, the most important first: the controller at natural local contrast, the best natural image at the "
        "controller's local contrast, the best natural image by prediction, the controller with random phases. [] shows none.",
    )
    repeats: Count = Field(default=8, description="[count] Presentations of each arm, at most those of a controller.")
    budget: int = Field(
        default=1000,
        ge=0,
        description="[presentations] Of all arms of a round; what does not fit is cut from the end of kinds and told in the log.",
    )
