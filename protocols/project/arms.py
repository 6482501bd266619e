"""The control arms of a round, one row each: its name, what it is in words, and its mark in the figures.

To add an arm: its name in `ArmName` and a row in `ARMS` here, and a maker in `protocols.rounds.arms.MAKERS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

ArmName = Literal["contrast_matched", "natural_raised", "predicted_natural", "phase_scrambled", "evolved"]
"""What ``[arms] kinds`` of project.toml may name."""


@dataclass(frozen=True, kw_only=True)
class ControlArm:
    """What the report says and draws of one control arm.

    Attributes
    ----------
    name : str
        As project.toml and key.csv have it.
    sentence : str
        What its image is, for a methods section; no full stop.
    option : str
        What its image is in a few words, for the comment above ``[arms] kinds`` in project.toml.
    marker : str
        Marker in the figures (matplotlib's code).
    colour : str
        Colour in the figures, ``#rrggbb``, of those that colour-blind readers tell apart (Okabe & Ito 2008).
    default : bool
        Whether a project shows it where ``[arms] kinds`` is not written. It costs `[arms] repeats` presentations per
        controller: a new arm is best left to the projects that ask for it.
    """

    name: str
    sentence: str
    option: str
    marker: str
    colour: str
    default: bool = False

    @property
    def label(self) -> str:
        """The name in words, for tables and legends."""
        return self.name.replace("_", " ")


ARMS: dict[str, ControlArm] = {
    arm.name: arm
    for arm in (
        ControlArm(
            name="contrast_matched",
            sentence=(
                "the controller scaled to the photographs' median contrast within the site's model receptive field"
            ),
            option="the controller at natural local contrast",
            marker="^",
            colour="#e69f00",
            default=True,
        ),
        ControlArm(
            name="natural_raised",
            sentence="the site's best natural image scaled to the controller's contrast there",
            option="the best natural image at the controller's local contrast",
            marker="v",
            colour="#009e73",
            default=True,
        ),
        ControlArm(
            name="predicted_natural",
            sentence="the natural image with the highest predicted score among all photographs",
            option="the best natural image by prediction",
            marker="s",
            colour="#cc79a7",
            default=True,
        ),
        ControlArm(
            name="phase_scrambled",
            sentence="the controller with random phases and the same amplitude spectrum",
            option="the controller with random phases",
            marker="X",
            colour="#d55e00",
            default=True,
        ),
        ControlArm(
            name="evolved",
            sentence="the image that was evolved for the site on the rig, by recorded responses alone",
            option="the image evolved on the rig; needs [evolution] generations",
            marker="*",
            colour="#000000",
        ),
    )
}
"""Every control arm by its name, in the order of the tables and of the default of ``[arms] kinds``."""

DEFAULT: tuple[ArmName, ...] = tuple(name for name in get_args(ArmName) if ARMS[name].default)
"""The arms of a project that does not write ``[arms] kinds``; the budget cuts from the end."""


def arm_named(name: str) -> ControlArm:
    """The row of `ARMS`; an arm of another version gets its name for a sentence, and a grey mark."""
    unknown = ControlArm(
        name=name,
        sentence=f"{name.replace('_', ' ')} (an arm of another version)",
        option="an arm of another version",
        marker="P",
        colour="#777777",
    )
    return ARMS.get(name, unknown)


def in_order(names: set[str]) -> list[ControlArm]:
    """The arms of these names, those of `ARMS` first and in its order, the others by name."""
    known = [arm for name, arm in ARMS.items() if name in names]
    return known + [arm_named(name) for name in sorted(names - ARMS.keys())]
