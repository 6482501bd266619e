"""Section ``[safety]`` of a project.toml: the limits on what is shown. docs/safety.md says where each comes from."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from .section import Fraction, Section

Kind = Literal["mean luminance", "RMS contrast", "Michelson contrast", "stripes", "general flash", "red flash"]
"""What a finding may be called."""


class SafetyConfig(Section):
    """Section ``[safety]``: limits on what is shown; with species = "human" an export that exceeds one stops. See
    docs/safety.md.
    """

    acknowledge: dict[Kind, str] = Field(
        default={},
        description=(
            '[kind of finding = "reason"] Why a human subject is shown more than a limit allows, such as the ethics '
            'protocol that covers it: { "general flash" = "..." }; the other kinds are "red flash", "stripes", "mean '
            'luminance", "RMS contrast" and "Michelson contrast". The reasons stand in the manifest. An export with a'
            " finding of a kind that is not named here stops."
        ),
    )
    max_mean_luminance_cd_m2: Annotated[float, Field(gt=0)] | None = Field(
        default=None,
        description=(
            "[cd/m2] Largest mean luminance of an image; it needs [display] max_luminance_cd_m2. Left out: no limit."
        ),
    )
    max_rms_contrast: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="[SD / mean of luminance] Largest contrast of an image. Left out: no limit."
    )
    max_michelson_contrast: Fraction | None = Field(
        default=None,
        description=("[(max - min) / (max + min) of luminance] Largest contrast of an image. Left out: no limit."),
    )
    flashes_per_second: float = Field(
        default=3.0, ge=0, le=60, description="[count] Flashes allowed in any one second (WCAG 2.3.1: 3)."
    )
    flash_change: float = Field(
        default=0.1,
        gt=0,
        le=1,
        description="[relative luminance] Smallest change that is part of a flash (WCAG 2.3.1: 0.1).",
    )
    flash_change_cd_m2: float = Field(
        default=20.0,
        gt=0,
        description=(
            "[cd/m2] The same in cd/m2, where max_luminance_cd_m2 is known and this is less (Harding et al. 2005: 20)."
        ),
    )
    flash_darker_below: float = Field(
        default=0.8,
        gt=0,
        le=1,
        description="[relative luminance] The darker state of a flash is below this (WCAG 2.3.1: 0.8).",
    )
    flash_area_sr: float = Field(
        default=0.006,
        ge=0,
        description=(
            "[steradians in any 10-degree field] Smaller flashes are allowed (WCAG 2.3.1: 0.006, a quarter of the "
            "field)."
        ),
    )
    red_saturation: Fraction = Field(
        default=0.8,
        description=("[R / (R + G + B), linear light] Red counts as saturated from here on (WCAG 2.3.1: 0.8)."),
    )
    red_change: float = Field(
        default=20.0,
        ge=0,
        le=320,
        description=(
            "[change of (R - G - B) x 320, linear light] Larger ones are part of a red flash (WCAG 2.0 and 2.1: 20)."
        ),
    )
    stripe_pairs: float = Field(
        default=5.0,
        ge=0,
        description=("[light-dark pairs] Largest number allowed in a regular pattern (Harding et al. 2005: 5)."),
    )
    stripe_area_sr: float = Field(
        default=0.006, ge=0, description="[steradians] Smaller patterns are allowed (Harding et al. 2005: 0.006)."
    )
    stripe_contrast: Fraction = Field(
        default=0.3,
        description=(
            "[Michelson contrast] Stripes of at least this contrast count (this project's value, not a standard's)."
        ),
    )
    stripe_frequencies: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(1.0, 8.0),
        description=(
            "[cycles/degree] Stripes of frequencies between these count (this project's values, not a standard's)."
        ),
    )
