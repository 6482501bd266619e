"""Sections ``[refit]`` and ``[drift]`` of a project.toml: what becomes of encoder and responses between two rounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ._config_section import Fraction, Section


class RefitConfig(Section):
    """Section ``[refit]``: what becomes of the encoder between two rounds."""

    mode: Literal["full", "warm", "gain", "reuse"] = Field(
        default="full",
        description='[name] "full": fit anew on all rounds; "warm": go on from the weights at hand, readouts without gradient fit anew; "gain": only gain and offset of every site, from the rounds that the readouts were not fitted to; '
        '"reuse": the encoder of the round before serves again.',
    )
    recency: Annotated[float, Field(gt=0, le=1)] = Field(
        default=1.0,
        description="[factor] A trial's weight is this to the power of its age in rounds, the newest having 1; 1: nothing is forgotten.",
    )
    natural_floor: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.5, description="[factor] Natural images never weigh less than this, however old."
    )
    natural_share: Fraction = Field(
        default=0.25,
        description="[fraction of the weight] Least share of the natural images in a refit, without which the encoder forgets them.",
    )
    tolerance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.02,
        description="[correlation, or FEVE of a gain refit] A refit is refused where the median over sites of the score on held-out natural "
        "images falls by more than this.",
    )
    accept_worse: str = Field(
        default="", description='[text] Reason to accept a refit that is refused; it is recorded; "": none is accepted.'
    )


class DriftConfig(Section):
    """Section ``[drift]``: what is done about sites that change between the recording days."""

    align: bool = Field(
        default=True,
        description="[true or false] Bring each round's responses to the baseline's scale, by gains and shifts from re-shown images, before they are pooled in a fit.",
    )
    exclude: bool = Field(
        default=True,
        description="[true or false] Leave sites out of a round's verdicts and of later fits where their tuning or signal is lost, or another site's, on evidence.",
    )
