"""What is hardly meant in a set of photographs: told at import, before fits and in `stimsynth check`, never refused."""

from __future__ import annotations

from collections import Counter

import numpy as np

from protocols.arrays import Floats, Pixels
from protocols.disk.png import read_png
from protocols.progress import counted

from .display import Display
from .photograph_import import CUT, ENLARGED
from .photographs import NaturalImages
from .picture_files import GAMMA, PROFILE, TURNED

SAME = 3
"""Grey levels within which a pixel counts as the same in all photographs, since JPEG leaves traces at edges."""
SHARE_SAME, SHARE_FRAMED, SHARE_CUT = 0.02, 0.2, 0.2
COLOURLESS = 2
"""Difference between channels, in grey levels, up to which a picture counts as grey."""
DARKEST, FLAT_SD = 64, 1.0
SHARE_DISCS, PLAIN_SD = 0.9, 1.5
"""Of the photographs, to call all discs; largest SD of a uniform surround, in grey levels, JPEG traces included."""


def photograph_report(natural: NaturalImages, display: Display, *, shown_elsewhere: bool = True) -> list[str]:
    """What the import did, what it left out, and what is hardly meant (`photograph_warnings`): one sentence each.

    Raises
    ------
    DataError
        P01, P02: a photograph cannot be read.
    """
    warnings = photograph_warnings(natural, display, shown_elsewhere=shown_elsewhere)
    return [*natural.sentences(), *(f"warning: {w}" for w in warnings)]


def photograph_warnings(natural: NaturalImages, display: Display, *, shown_elsewhere: bool = True) -> list[str]:
    """What is hardly meant in the imported photographs, one sentence each with its way out; empty where all is well.

    Looked for: only grey pictures in a colour project; pixels that are the same in all pictures although the display
    has no aperture (discs, frames), or inside its aperture; a background of another value than the display's; discs on
    surrounds that differ between the pictures; pictures with a uniform frame of their own; uniform pictures; pictures
    that are all very dark, as 12-bit values in 8 bits are; mostly enlarged pictures; and, where another program showed
    them, pictures that were turned by their EXIF orientation, that have a colour profile, or that were cut by a fifth
    or more.

    Parameters
    ----------
    natural : NaturalImages
    display : Display
    shown_elsewhere : bool
        Whether another program may have shown the files: it may have treated them in another way.

    Raises
    ------
    DataError
        P01, P02: a photograph cannot be read.
    """
    told = _by_notes(natural, display) if shown_elsewhere else []
    return [*told, *_enlarged(natural), *_by_pixels(natural, display)]


def _by_notes(natural: NaturalImages, display: Display) -> list[str]:
    count, total = Counter(note for row in natural.rows for note in row.notes.split("; ")), len(natural.rows)
    told = []
    if count[TURNED]:
        told.append(
            f"{count[TURNED]} of {total} photographs were turned upright by their EXIF orientation. Most stimulus "
            "programs do not do that: where they were shown by another program, remove the orientation from the "
            "files first"
        )
    if count[PROFILE] + count[GAMMA]:
        told.append(
            f"{count[PROFILE] + count[GAMMA]} of {total} photographs have a colour profile or gamma, which is ignored: "
            "their pixel values go to the screen as they are. Where the program that showed them applies profiles, "
            "convert them first"
        )
    sizes = [row.resized_from.split("x") for row in natural.rows if row.resized_from and CUT in row.notes]
    lost = [1 - _kept(int(width), int(height), display) for width, height in sizes]
    if lost and max(lost) >= SHARE_CUT:
        told.append(
            f"{len(lost)} of {total} photographs were cut to the aspect of the display, up to {max(lost):.0%} of their "
            "area. Where they were shown whole, set width_px and height_px in [display] to their aspect and import "
            "again"
        )
    return told


def _enlarged(natural: NaturalImages) -> list[str]:
    count, total = sum(ENLARGED in row.notes for row in natural.rows), len(natural.rows)
    if count * 2 <= total:
        return []
    return [
        f"{count} of {total} photographs are smaller than the display and were enlarged: they have no fine detail. "
        "Give "
        "the originals, or a smaller width_px"
    ]


def _kept(width: int, height: int, display: Display) -> float:
    left, upper, right, lower = display.crop_box(width, height)
    return (right - left) * (lower - upper) / (width * height)


def _by_pixels(natural: NaturalImages, display: Display) -> list[str]:
    lowest = highest = None
    grey, flat, framed, brightest = 0, 0, 0, 0
    weight = display.aperture_mask()
    inside = np.ones(display.shape[1:], dtype=bool) if weight is None else weight.numpy() > 0.5
    surrounds, away = list[float](), distance_from_centre(*inside.shape)
    for row in counted(natural.rows, "look at photographs"):
        pixels = read_png(natural.folder / row.filename)  # (H, W, C)
        if pixels.shape[:2] != inside.shape:
            return []  # of another display: `check` says so
        lowest = pixels if lowest is None else np.minimum(lowest, pixels)
        highest = pixels if highest is None else np.maximum(highest, pixels)
        grey += int(np.ptp(pixels, axis=2).max()) <= COLOURLESS
        flat += float(pixels[inside].std()) < FLAT_SD
        framed += _framed(pixels)
        surrounds += surround_of_disc(pixels, away)
        brightest = max(brightest, int(pixels[inside].max()))
    if lowest is None or highest is None or len(natural.rows) < 2:
        return []
    same = (highest.astype(int) - lowest).max(axis=2) <= SAME
    total, told = len(natural.rows), []
    if display.colour == "rgb" and grey:
        told.append(_grey(grey, total))
    constant = _constant(same, lowest, inside=inside, display=display)
    told += constant
    discs = not constant and weight is None and len(surrounds) > SHARE_DISCS * total
    if discs:
        told.append(_discs(surrounds, total))
    if not constant and not discs and weight is None and framed > SHARE_FRAMED * total:
        told.append(
            f"{framed} of {total} photographs have a uniform frame on two sides, each of its own value: the encoder "
            "learns the frame. Cut it off and import again"
        )
    if flat:
        told.append(
            f"{flat} of {total} photographs are uniform: take them out, or look whether they were decoded rightly"
        )
    if brightest < DARKEST:
        told.append(
            f"the brightest pixel of all photographs is {brightest} of 255, as where 10- or 12-bit values were saved "
            "in 8 or 16 bits without scaling. Save them again so that the brightest value that was shown is near 255"
        )
    return told


def _grey(grey: int, total: int) -> str:
    if grey == total:
        return (
            f'all {total} photographs are grey, but [display] says colour = "rgb": the encoder cannot learn what '
            'colour does, and colours of controllers lie outside what it was fitted to. Set colour = "grey", or '
            "import the "
            "pictures in colour"
        )
    return (
        f'{grey} of {total} photographs are grey in a project with colour = "rgb": if they come from another set, '
        "take them out"
    )


def _constant(same: np.ndarray, value: Pixels, *, inside: np.ndarray, display: Display) -> list[str]:
    """Warnings on pixels that are the `same` in all photographs: (H, W) of bool, `value` (H, W, C)."""
    share = float((same & inside).mean())
    if share < SHARE_SAME:
        return []
    level = int(np.median(value[same & inside]))
    away = distance_from_centre(*same.shape)
    corners = same[0, 0] and same[0, -1] and same[-1, 0] and same[-1, -1]
    disc = (
        display.aperture == "none"
        and corners
        and bool(same[away > 1.02].mean() > 0.95)
        and bool(same[away < 0.8].mean() < 0.5)
    )
    told = [
        f"{share:.0%} of the pixels{'' if display.aperture == 'none' else ' inside the aperture'} are the same in all "
        f"photographs (pixel value {level}), so the encoder learns nothing there and controllers may fill them. "
    ]
    if disc:
        told[0] += 'The photographs are discs: set aperture = "circle" in [display]'
    elif display.aperture == "none":
        told[0] += "Cut the border off the pictures, or mask them as they were shown, and import again"
    else:
        told[0] += "The pictures have a smaller disc or a border of their own: cut it off and import again"
    if disc and level != display.background:
        told.append(
            f"the photographs have a surround of {level}, but [display] says background = {display.background}: blanks "
            f"and the surround of controllers would differ from it. Set background = {level}, if the screen showed that"
        )
    return told


def distance_from_centre(height: int, width: int) -> Floats:
    """Distance of every pixel from the centre, (H, W), in half the shorter side."""
    rows, columns = np.mgrid[:height, :width]
    return np.asarray(np.hypot(rows - (height - 1) / 2, columns - (width - 1) / 2) / (min(height, width) / 2))


def surround_of_disc(pixels: Pixels, away: Floats) -> list[float]:
    """The value of a uniform surround of a picture that is a disc, as a list of one; empty where it is none."""
    around, within = pixels[away > 1.05], pixels[(away > 0.6) & (away < 0.8)]
    if not len(around) or not len(within) or float(around.std(axis=0).max()) > PLAIN_SD:
        return []
    return [float(np.median(around))] if float(within.std(axis=0).max()) > 2 * PLAIN_SD else []


def _discs(surrounds: list[float], total: int) -> str:
    low, middle, high = (int(v) for v in np.percentile(surrounds, [0, 50, 100]))
    return (
        f"{len(surrounds)} of {total} photographs are discs on a uniform surround of their own value ({low} to {high}, "
        f'{middle} in the median), but [display] says aperture = "none": controllers would fill the corners, where '
        f'nothing was shown. Set aperture = "circle" and background = {middle} in [display], and import again'
    )


def _framed(pixels: Pixels) -> bool:
    """Whether two opposite sides of a picture are uniform, two pixels deep."""
    sides = (pixels[:2], pixels[-2:], pixels[:, :2], pixels[:, -2:])
    plain = [all(int(np.ptp(side[..., c])) <= SAME for c in range(pixels.shape[2])) for side in sides]
    return (plain[0] and plain[1]) or (plain[2] and plain[3])
