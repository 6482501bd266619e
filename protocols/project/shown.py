"""What the subject saw of a picture: the table shown.csv beside the pictures, and the picture drawn as it says.

One line per picture, or ``*`` for all that have none of their own. A picture is cut (`crop_*`), brought to its mean and
contrast, brought to its size on the screen, put at its place on the background, and masked; what is not said is left
as it is. Sizes and places are those within the image of the project's display: x to the right and y up from its centre.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protocols.arrays import Floats, Pixels
from protocols.disk.tables import read_table
from protocols.errors import DataError

from .display import Display

ALL = "*"
CROPPED, PLACED, MASKED = "cropped as shown.csv says", "placed as shown.csv says", "masked as shown.csv says"
OTHER_GROUND, LEVELLED = "on a background of shown.csv", "brought to the mean or contrast of shown.csv"
CLIPPED, RESAMPLED = "with pixels clipped by the contrast of shown.csv", "resampled to the size of shown.csv"
"""What drawing a picture as shown changes in it, each to be read after a count."""

_Px = Annotated[int, Field(ge=0)]
_Size = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_Level = Annotated[float, Field(ge=0, le=255)]
_Place = Annotated[float, Field(allow_inf_nan=False)]


class Shown(BaseModel):
    """One line of shown.csv: what was shown of a picture; None = not said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    crop_x: _Px | None = None
    crop_y: _Px | None = None
    crop_width: Annotated[int, Field(ge=1)] | None = None
    crop_height: Annotated[int, Field(ge=1)] | None = None
    width_deg: _Size | None = None
    height_deg: _Size | None = None
    width_px: _Size | None = None
    height_px: _Size | None = None
    x_deg: _Place | None = None
    y_deg: _Place | None = None
    x_px: _Place | None = None
    y_px: _Place | None = None
    background: Annotated[int, Field(ge=0, le=255)] | None = None
    aperture: Literal["none", "circle", "square", "gaussian"] = "none"
    aperture_deg: _Size | None = None
    edge_deg: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    sd_deg: _Size | None = None
    mean: _Level | None = None
    sd: _Level | None = None

    def contradiction(self) -> str:
        """What cannot be meant together, "" where all goes together."""
        given = {name for name in type(self).model_fields if getattr(self, name) is not None}
        crop = {"crop_x", "crop_y", "crop_width", "crop_height"}
        degrees = given & {"width_deg", "height_deg", "x_deg", "y_deg"}
        pixels = given & {"width_px", "height_px", "x_px", "y_px"}
        size = given & {"width_deg", "height_deg", "width_px", "height_px"}
        masked = self.aperture in ("circle", "square")
        rules = {
            "a crop needs all four of crop_x, crop_y, crop_width and crop_height": bool(given & crop)
            and not crop <= given,
            "sizes and places in both deg and px": bool(degrees and pixels),
            "a place without a size": bool((degrees | pixels) - size) and not size,
            f"aperture = {self.aperture} without aperture_deg": masked and self.aperture_deg is None,
            "aperture_deg or edge_deg without a circle or square": not masked
            and bool(given & {"aperture_deg", "edge_deg"}),
            "aperture = gaussian without sd_deg": self.aperture == "gaussian" and self.sd_deg is None,
            "sd_deg without aperture = gaussian": self.aperture != "gaussian" and self.sd_deg is not None,
            "an edge wider than half the aperture": masked
            and 2 * (self.edge_deg or 0) > (self.aperture_deg or math.inf),
        }
        return "; ".join(rule for rule, broken in rules.items() if broken)


COLUMNS = ("filename", *Shown.model_fields)


@dataclass(frozen=True)
class ShownAs:
    """What was shown of every picture: its own line of shown.csv, or that of ``*``."""

    where: str
    of: Mapping[str, Shown]

    def draw(self, name: str, picture: Image.Image, display: Display) -> tuple[Pixels, list[str]]:
        """The picture `name` as the display showed it, uint8 (H, W, C), and what was done to it.

        Parameters
        ----------
        name : str
            Name of the file within its folder.
        picture : PIL image of mode L or RGB
        display : Display

        Raises
        ------
        DataError
            P16: the crop leaves the picture; P17: the picture leaves the display.
        """
        shown, notes = self.of[name], []
        cut = self.cut(name, picture)
        if cut is not picture:
            notes.append(CROPPED)
        ground = display.background if shown.background is None else shown.background
        if ground != display.background:
            notes.append(OTHER_GROUND)
        box = self._box(name, cut.size, shown, display=display)
        if box is None:
            cut = cut.crop(display.crop_box(*cut.size))
            box = (0, 0, display.width_px, display.height_px)
        else:
            notes.append(PLACED)
        left, upper, width, height = box
        if cut.size != (width, height):
            notes.append(RESAMPLED)
            cut = cut.resize((width, height), Image.Resampling.LANCZOS)
        pixels, levelled = _levelled(np.asarray(cut, dtype=np.uint8), shown)
        notes += levelled
        image = np.full((display.height_px, display.width_px, *pixels.shape[2:]), ground, dtype=np.uint8)
        image[upper : upper + height, left : left + width] = pixels
        weight = _aperture(shown, display)
        if weight is not None:
            notes.append(MASKED)
            image = _masked(image, weight, ground, display=display)
        return display.fit_image(image), notes

    def cut(self, name: str, picture: Image.Image) -> Image.Image:
        """The part of the picture `name` that was shown; the picture itself where no crop is said.

        Raises
        ------
        DataError
            P16: the crop leaves the picture.
        """
        shown = self.of[name]
        if shown.crop_x is None or shown.crop_y is None or shown.crop_width is None or shown.crop_height is None:
            return picture
        box = (shown.crop_x, shown.crop_y, shown.crop_x + shown.crop_width, shown.crop_y + shown.crop_height)
        if box[2] > picture.width or box[3] > picture.height:
            raise DataError(
                self.where,
                found=f"a crop of {name} from ({box[0]}, {box[1]}) to ({box[2]}, {box[3]}) in a picture of "
                f"{picture.width} x {picture.height} pixels",
                expected="crops inside their pictures, in pixels of the file from its upper left corner",
                cause="numbers of another size of the pictures, or x and y in the other order",
                fix="correct the line, or remove the crop",
                code="P16",
            )
        return picture if box == (0, 0, *picture.size) else picture.crop(box)

    def _box(
        self, name: str, size: tuple[int, int], shown: Shown, *, display: Display
    ) -> tuple[int, int, int, int] | None:
        """Where the picture lies on the display: left, upper, width, height in pixels; None where no size is said."""
        scale = 1.0 if shown.width_deg is None and shown.height_deg is None else display.px_per_deg
        width, height = shown.width_deg or shown.width_px, shown.height_deg or shown.height_px
        if width is None and height is None:
            return None
        width_px = width * scale if width is not None else (height or 0) * scale * size[0] / size[1]
        height_px = height * scale if height is not None else (width or 0) * scale * size[1] / size[0]
        columns, rows = max(_round(width_px), 1), max(_round(height_px), 1)
        x, y = (v * scale for v in (shown.x_deg or shown.x_px or 0.0, shown.y_deg or shown.y_px or 0.0))
        left = _round(display.width_px / 2 + x - columns / 2)
        upper = _round(display.height_px / 2 - y - rows / 2)
        if left < 0 or upper < 0 or left + columns > display.width_px or upper + rows > display.height_px:
            raise DataError(
                self.where,
                found=f"{name} at columns {left} to {left + columns} and rows {upper} to {upper + rows}",
                expected=f"pictures inside the display of {display.width_px} x {display.height_px} pixels "
                f"({display.size_deg:g} deg wide)",
                cause="another unit, a place counted from a corner, or a [display] that is smaller than what was shown",
                fix="correct the line, or make width_px, height_px and size_deg of [display] those of the whole area",
                code="P17",
            )
        return left, upper, columns, rows


def read_shown(path: Path, names: Sequence[str]) -> ShownAs:
    """The table shown.csv for pictures of these names.

    Raises
    ------
    DataError
        P14: no table, an unknown column, or a cell that is no such value; P15: a line for no picture, or two for one;
        P18: columns that contradict each other; P19: pictures without a line.
    """
    try:
        header, table = read_table(path)
    except (DataError, OSError) as error:
        raise _no_table(path, getattr(error, "found", str(error))) from error
    unknown = [name for name in header if name not in COLUMNS]
    if unknown or "filename" not in header:
        raise _no_table(path, f"the columns {', '.join(unknown)}" if unknown else "no column filename")
    known = {form: name for name in names for form in (_composed(name).strip(), name)}
    lines: dict[str, Shown] = {}
    for number, line in enumerate(table, start=2):
        given = (line.pop("filename", "") or "").strip()
        name = ALL if given == ALL else known.get(given) or known.get(_composed(given).replace("\\", "/"))
        if name is None or name in lines:
            found = f"line {number} for {given!r}" + (", which has a line already" if name else "")
            raise _no_picture(path, found)
        lines[name] = _line(path, number, line)
    missing = [] if ALL in lines else [name for name in names if name not in lines]
    if missing:
        raise DataError(
            str(path),
            found=f"no line for {len(missing)} of {len(names)} pictures ({', '.join(missing[:5])})",
            expected="a line for every picture, or one with the filename * for all others",
            cause="pictures that were not shown, or lines that were lost",
            fix="add a line with the filename *, or take the pictures that were not shown out of the folder",
            code="P19",
        )
    return ShownAs(str(path), {name: lines.get(name) or lines[ALL] for name in names})


def _line(path: Path, number: int, cells: Mapping[str, Any]) -> Shown:
    said = {name: text.strip() for name, text in cells.items() if text and text.strip()}
    try:
        shown = Shown.model_validate(said)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        raise _no_table(path, f"line {number}: {name} = {said.get(name)!r} ({first['msg']})") from error
    if reason := shown.contradiction():
        raise DataError(
            str(path),
            found=f"line {number}: {reason}",
            expected="columns that go together",
            cause="a column was left empty, or two ways of saying a size were mixed",
            fix="fill the missing column, or empty those that are not meant",
            code="P18",
        )
    return shown


def _no_table(path: Path, found: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected=f"a table with the column filename and any of {', '.join(COLUMNS[1:])}",
        cause="a typing error, or another table of this name",
        fix="correct the cell or the name of the column, or rename the file if it says something else",
        code="P14",
    )


def _no_picture(path: Path, found: str) -> DataError:
    return DataError(
        str(path),
        found=found,
        expected="one line per picture of the folder, by its file name, and one for * at most",
        cause="a typing error, a picture that was renamed or removed, or a line that was copied",
        fix="correct the filename, or remove the line",
        code="P15",
    )


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _round(value: float) -> int:
    return math.floor(value + 0.5)


def _levelled(pixels: Pixels, shown: Shown) -> tuple[Pixels, list[str]]:
    """Pixel values with the mean and the SD over the picture that `shown` says, all channels alike, and notes."""
    if shown.mean is None and shown.sd is None:
        return pixels, []
    values = pixels.astype(np.float64)
    centre, spread = values.mean(), values.std()
    gain = 1.0 if shown.sd is None or spread == 0 else shown.sd / spread
    wanted = np.floor((values - centre) * gain + (centre if shown.mean is None else shown.mean) + 0.5)
    clipped = bool(((wanted < 0) | (wanted > 255)).any())
    return np.clip(wanted, 0, 255).astype(np.uint8), [LEVELLED, *([CLIPPED] if clipped else [])]


def _aperture(shown: Shown, display: Display) -> Floats | None:
    """Weight of the picture against the background, (H, W), round the picture's place; None without aperture."""
    if shown.aperture == "none":
        return None
    scale = 1.0 if shown.x_px is not None or shown.y_px is not None else display.px_per_deg
    x, y = (v * scale for v in (shown.x_deg or shown.x_px or 0.0, shown.y_deg or shown.y_px or 0.0))
    columns = np.abs(np.arange(display.width_px) - (display.width_px - 1) / 2 - x)[None]
    rows = np.abs(np.arange(display.height_px) - (display.height_px - 1) / 2 + y)[:, None]
    if shown.aperture == "gaussian":
        sd = (shown.sd_deg or 1.0) * display.px_per_deg
        return np.asarray(np.exp(-(columns**2 + rows**2) / (2 * sd**2)))
    away = np.hypot(columns, rows) if shown.aperture == "circle" else np.maximum(columns, rows)
    radius = (shown.aperture_deg or 0.0) * display.px_per_deg / 2
    edge = max((shown.edge_deg or 0.0) * display.px_per_deg, 1e-9)
    phase = np.clip((away - (radius - edge)) / edge, 0, 1)
    return np.asarray(np.where(away >= radius, 0.0, 0.5 * (1 + np.cos(np.pi * phase))))


def _masked(image: Pixels, weight: Floats, ground: int, *, display: Display) -> Pixels:
    """The image faded into the background in luminance, as the display's own aperture does."""
    import torch

    shape = (*weight.shape, *([1] * (image.ndim - 2)))
    light = display.to_luminance(torch.from_numpy(image.astype(np.float64) / 255))
    back = display.to_luminance(torch.tensor(ground / 255, dtype=torch.float64))
    shown = display.to_pixel(back + torch.from_numpy(weight).reshape(shape) * (light - back))
    pixels: Pixels = (shown.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    pixels[weight == 0] = ground
    return pixels
