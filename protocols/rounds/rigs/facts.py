"""What every rig's files are written from: sizes, colours, times and frames of one round, checked before a line is
written.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

from protocols.disk.files import is_id
from protocols.errors import DataError
from protocols.project.config.rig import RigConfig

from .rig import ShownImage, Timing

NEAR = 0.05
"""Frames that a duration may be off a whole number of them; as `protocols.project.config.checks` has it."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """One round as presentation software needs to know it.

    Parameters
    ----------
    title : str
        Session and round.
    width_px, height_px : int
    width_deg, height_deg : float
        Size of the image in degrees of visual angle; pixels are square.
    px_per_deg : float
    background : int
        Pixel value 0..255 of everything outside the image.
    encoding : str
        "linear", "srgb" or "gamma": what pixel values mean; `gamma` is the exponent of the last, None else.
    refresh_hz : float or None
    on_ms, off_ms : float
    x_deg, y_deg : float
        Centre of the images: right and up of the centre of the screen.
    images_per_fixation : int
    """

    title: str
    width_px: int
    height_px: int
    width_deg: float
    height_deg: float
    px_per_deg: float
    background: int
    encoding: str
    gamma: float | None
    refresh_hz: float | None
    on_ms: float
    off_ms: float
    x_deg: float
    y_deg: float
    images_per_fixation: int

    @property
    def half_frame_ms(self) -> float:
        """Half of one frame; 0 where the refresh rate is not known."""
        return 500 / self.refresh_hz if self.refresh_hz else 0.0


def facts_of(manifest: Mapping[str, Any], timing: Timing) -> Facts:
    """The facts of a round from its manifest; ``[rig]`` of project.toml stands in its entry ``config``.

    Raises
    ------
    DataError
        J05: the refresh rate is known, and a duration is not a whole number of frames.
    """
    display = manifest["display"]
    rig = RigConfig.model_validate((manifest.get("config") or {}).get("rig") or {}, strict=False)
    per_degree = display["width_px"] / display["size_deg"]
    facts = Facts(
        title=f"{manifest['session']}, round {manifest['round']}",
        width_px=display["width_px"],
        height_px=display["height_px"],
        width_deg=float(display["size_deg"]),
        height_deg=display["height_px"] / per_degree,
        px_per_deg=per_degree,
        background=display["background"],
        encoding=display["encoding"],
        gamma=display.get("gamma"),
        refresh_hz=display.get("refresh_hz"),
        on_ms=timing.on_ms,
        off_ms=timing.off_ms,
        x_deg=rig.position_deg[0],
        y_deg=rig.position_deg[1],
        images_per_fixation=rig.images_per_fixation,
    )
    if facts.refresh_hz:
        for key in ("on_ms", "off_ms"):
            _whole_frames(key, getattr(facts, key), facts.refresh_hz)
    return facts


def _whole_frames(key: str, duration_ms: float, refresh_hz: float) -> None:
    frames = duration_ms * refresh_hz / 1000
    if math.isfinite(frames) and abs(frames - round(frames)) <= NEAR and (duration_ms == 0 or round(frames) > 0):
        return
    raise DataError(
        f"[protocol] {key}",
        found=f"{key} = {duration_ms:g}, which is {frames:.2f} frames at {refresh_hz:g} Hz",
        expected="a whole number of frames",
        cause="durations of another screen",
        fix=f"give {key} as frames x {1000 / refresh_hz:.4f} ms, or correct [display] refresh_hz, and export again",
        code="J05",
    )


def require_refresh(facts: Facts, software: str) -> None:
    """Refuse software that cannot measure the refresh rate itself where the project does not state it.

    Raises
    ------
    DataError
        J02
    """
    if facts.refresh_hz:
        return
    raise DataError(
        "project.toml [display] refresh_hz",
        found="no refresh rate",
        expected=f"the refresh rate of the screen, since files for {software} end each image half a frame early, so "
        "that it is not shown one frame too long",
        cause="a project made without a screen in mind",
        fix="add refresh_hz, such as 60.0, to [display]; for a round that is exported already: `stimsynth rig PROJECT "
        f"--software {software} --refresh-hz 60 --out DIR`. psychopy, psychtoolbox and mworks measure it themselves",
        code="J02",
    )


def require_plain_names(images: Mapping[str, ShownImage]) -> None:
    """Refuse ids and file names that presentation software reads as something else.

    PsychoPy turns what looks like a number into one, MonkeyLogic cuts ``pic(...)`` at commas and brackets, MWorks takes
    identifiers alone, Windows has names and endings of its own.

    Raises
    ------
    DataError
        J03
    """
    for image_id, image in images.items():
        if is_id(image_id) and image.filename == f"images/{image_id}.png":
            continue
        raise DataError(
            f"the image {image_id!r}",
            found=f"the file {image.filename!r}",
            expected="an id of a-z, then a-z, 0-9 and _, no word such as nan or con, and the file images/ID.png",
            cause="an outbox that was made or renamed by hand",
            fix="export the round with `stimsynth export`, which names its images so",
            code="J03",
        )


def filled(template: str, values: Mapping[str, object]) -> str:
    """The text of a file of ``templates/``, each ``@NAME@`` replaced by its value.

    Raises
    ------
    ValueError
        A name without value, or a value without place.
    """
    text = resources.files("protocols").joinpath("rounds/rigs/templates", template).read_text(encoding="utf-8")
    for name, value in values.items():
        if f"@{name}@" not in text:
            raise ValueError(f"{template} has no place for {name!r}")
        text = text.replace(f"@{name}@", str(value))
    return text


def number(value: float) -> str:
    """A number as every software reads it: up to 9 digits, point as decimal sign, no exponent."""
    text = f"{value:.9f}".rstrip("0").rstrip(".")
    return "0" if text in ("-0", "") else text


def crlf(lines: Iterable[str]) -> str:
    """Lines with the line ends of Windows, for software that runs there alone."""
    return "".join(line.rstrip("\r\n") + "\r\n" for line in lines)
