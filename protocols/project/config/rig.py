"""Section ``[rig]`` of a project.toml: the presentation software for which an export writes files."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from .section import Section

RigName = Literal["psychopy", "psychtoolbox", "monkeylogic", "mworks", "presentation", "generic"]
"""Software that files can be written for; the catalogue `RIGS` of `protocols.rounds.rigs` has a row for each."""

NEED_REFRESH: tuple[RigName, ...] = ("monkeylogic", "presentation")
"""Those whose files need ``[display] refresh_hz``; the others measure it, or show nothing themselves."""


class RigConfig(Section):
    """Section ``[rig]``: files for the presentation software, beside the plain ones of every export."""

    software: Annotated[tuple[RigName, ...], BeforeValidator(lambda v: [v] if isinstance(v, str) else v)] = Field(
        default=(),
        strict=False,
        description=(
            "[names] Presentation software whose files an export writes beside order.csv: psychopy, psychtoolbox, "
            'monkeylogic, mworks, presentation, generic (one table with all times and sizes), such as ["psychopy"]. '
            "[]: the plain files alone."
        ),
    )
    position_deg: Annotated[tuple[float, float], Field(strict=False)] = Field(
        default=(0.0, 0.0),
        strict=False,
        description=(
            "[degrees of visual angle: right, up] Centre of the images, relative to the centre of the screen."
        ),
    )
    images_per_fixation: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=1,
        description=(
            "[count] Images shown in succession while the subject fixates once. Used by monkeylogic, whose trial this "
            "is; the other scripts show one image after another."
        ),
    )
