"""The tables of map.toml: what each key may hold, and which keys go together."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from protocols.recordings.units import UNITS

Axis = Literal["trial", "image", "repeat", "site", "time", "entry", "one"]
_FORMAT = re.compile(r"[^{}]*\{(:0?\d{0,2}d?)?\}[^{}]*")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


def _named(value: Any) -> Any:
    return {"array": value} if isinstance(value, str) else value


class Where(_Table):
    """Which rows of a table are meant: those in which a column of the same file has one of the values."""

    array: str
    equals: list[int | float | str | bool] = Field(alias="is")


class SourceTable(_Table):
    """Where a list of numbers or names comes from."""

    array: str | None = Field(default=None, description="name of the array or column in the file")
    file: str | None = Field(default=None, description="name of the file, where it is not that of the responses")
    column: int | str | None = Field(default=None, description="column of a matrix, counted from 1, or its name")
    values: list[int | float | str | bool] | None = Field(default=None, description="the values themselves")
    value: int | float | str | bool | None = Field(default=None, description="one value for all")
    ranges: list[tuple[int | float | str, int]] | None = Field(default=None, description="pairs of value and how many")
    count: tuple[int, int] | None = Field(default=None, description="all whole numbers from the first to the second")
    where: Where | None = Field(default=None, description="only rows of the file in which a column has these values")

    @model_validator(mode="after")
    def _one_kind(self) -> SourceTable:
        given = [self.values, self.value, self.ranges, self.count, (self.array or self.file) or None]
        if sum(g is not None for g in given) != 1:
            raise ValueError("give one of array (with file), values, value, ranges, count")
        if self.where is not None and not (self.array or self.file):
            raise ValueError("where goes with the array of a file")
        if isinstance(self.column, int) and self.column < 1:
            raise ValueError("columns are counted from 1")
        return self

    def text(self) -> str:
        """What it is, for people."""
        if self.array or self.file:
            named = f"{self.array!r}" if self.array else "the list"
            named += f" column {self.column}" if self.column is not None else ""
            return f"{named} of {self.file}" if self.file else named
        return "the map"


def _written(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Text = Annotated[str, BeforeValidator(_written)]
"""Text that may be written as a number: --set session=210325."""
Source = Annotated[SourceTable, BeforeValidator(_named)]
Numbers = Annotated[list[float] | SourceTable, BeforeValidator(_named)]


class Filter(_Table):
    """Which presentations or sites are taken."""

    source: Source | None = Field(
        default=None, alias="from", description="values to compare, one per presentation or site"
    )
    equals: list[int | float | str | bool] | None = Field(default=None, alias="is", description="values that are taken")
    at_least: float | None = None
    at_most: float | None = None
    index: Source | None = Field(default=None, description="positions that are taken")
    counted_from: Literal[0, 1] | None = Field(default=None, description="from where `index` counts")

    @model_validator(mode="after")
    def _whole(self) -> Filter:
        tests = [t for t in (self.equals, self.at_least, self.at_most) if t is not None]
        if self.index is not None and (self.source is not None or tests or self.counted_from is None):
            raise ValueError("index stands alone with counted_from = 0 or 1")
        if self.index is None and (self.source is None or not tests):
            raise ValueError("give from with is, at_least or at_most; or index with counted_from")
        return self


class ResponsesTable(_Table):
    """``[responses]``: the numbers."""

    array: str | None = Field(default=None, description="name of the array; left out where the file holds one")
    arrays: list[str] | None = Field(
        None, description="names of arrays or columns, one per site; * stands for anything"
    )
    files: list[str] | None = Field(
        default=None, description="files that hold the responses; left out: all that are given"
    )
    axes: list[Axis] = Field(
        description="what each axis of the array is: trial | image, repeat, site, time, one, entry"
    )
    join: Literal["trial", "site"] = Field(default="trial", description="how several files are put together")
    averaged_over: float | Source | None = Field(
        None, description="presentations behind each row, where rows are means"
    )
    padding: Literal["nan", "keep"] = Field(
        default="nan", description="repeats that are NaN at every site: left out or kept"
    )
    scale: float | None = Field(default=None, gt=0, description="by which the stored numbers are multiplied")
    axes_checked: bool = Field(
        default=False, description="site and repeat are right, though the numbers look as if they were exchanged"
    )

    @model_validator(mode="after")
    def _axes_fit(self) -> ResponsesTable:
        again = [axis == "site" and self.axes[i - 1 : i] == ["site"] for i, axis in enumerate(self.axes)]
        named = [axis for axis, same in zip(self.axes, again, strict=True) if axis != "one" and not same]
        if len(set(named)) < len(named):
            raise ValueError("an axis is named twice in axes; axes that are sites together stand beside each other")
        if sum(axis in named for axis in ("trial", "image", "entry")) != 1:
            raise ValueError("axes needs one of trial, image and entry")
        if "repeat" in named and "image" not in named:
            raise ValueError("the axis repeat needs the axis image; presentations in a row are the axis trial")
        if self.arrays is not None and ("site" in named or "entry" in named or self.array is not None):
            raise ValueError("arrays are one per site: axes must not name site or entry, and array is left out")
        if "entry" in named and named != ["entry"]:
            raise ValueError("a long table has the axis entry alone")
        if "image" in named and "repeat" not in named and self.averaged_over is None:
            raise ValueError(
                "one row per image: averaged_over must say how many presentations are behind each (1: single)"
            )
        return self


class ImageSet(_Table):
    """One list of images, and which of its images was shown."""

    id: Source = Field(description="names of the images, or positions")
    counted_from: Literal[0, 1] | None = Field(default=None, description="from where positions count")
    names: Source | None = Field(
        default=None, description="the list that positions count; left out: the sorted photographs"
    )
    format: str | None = Field(default=None, description='names made from numbers or text, such as "{:04d}.png"')
    named_from: Literal[0, 1] | None = Field(default=None, description="from where numbers in pictures' names count")
    none: list[int | float | str] = Field(default=[], description="values that mean that no image was shown")

    @model_validator(mode="after")
    def _format_is_plain(self) -> ImageSet:
        if self.format is not None and not _FORMAT.fullmatch(self.format):
            raise ValueError('format is text with one place for the number, such as "{:04d}.png" or "{}.jpg"')
        counts = self.counted_from is not None and self.names is None and self.format is not None
        if counts != (self.named_from is not None):
            raise ValueError("counted_from with format needs named_from: from where numbers in pictures' names count")
        return self


class ImageTable(_Table):
    """``[image]``: which image each presentation, or each position of the axis image, shows."""

    id: Source | None = Field(default=None, description="names of the images, or positions")
    counted_from: Literal[0, 1] | None = None
    names: Source | None = None
    format: str | None = None
    named_from: Literal[0, 1] | None = None
    none: list[int | float | str] = []
    every: bool = Field(default=False, description="presentations without an image are refused, not left out")
    prefix: str | None = Field(default=None, description='a beginning of names that is left out, such as "block*_*_"')
    basename: bool = Field(default=False, description="only the last part of names with folders is taken")
    order: Literal["sorted"] | None = Field(
        default=None, description="position i is the i-th of the sorted photographs"
    )
    sets: list[ImageSet] | None = Field(
        default=None, description="several lists; a presentation belongs to one of them"
    )

    @model_validator(mode="after")
    def _one_way(self) -> ImageTable:
        if sum(x is not None for x in (self.id, self.order, self.sets)) != 1:
            raise ValueError("give one of id, order and sets")
        if self.id is None and (self.counted_from is not None or self.names or self.format or self.none):
            raise ValueError("counted_from, names, format and none go with id")
        try:
            self.lists()
        except ValidationError as error:
            raise ValueError(error.errors()[0]["msg"].removeprefix("Value error, ")) from error
        return self

    def lists(self) -> list[ImageSet]:
        """Every list of images, one where there are no sets."""
        if self.sets is not None:
            return self.sets
        if self.id is None:
            return []
        own = {name: getattr(self, name) for name in ("counted_from", "names", "format", "named_from", "none")}
        return [ImageSet(id=self.id, **own)]


class TimeTable(_Table):
    """``[time]``: the bins of the axis time, relative to image onset."""

    edges: Numbers | None = Field(default=None, description="bins + 1 edges")
    start: float | None = Field(default=None, description="where the first bin begins")
    step: float | None = Field(default=None, gt=0, description="length of a bin")
    centres: Numbers | None = Field(default=None, description="middle of each bin, in equal steps")
    ends: Numbers | None = Field(default=None, description="end of each bin, in equal steps")
    unit: Literal["ms", "s"] = "ms"
    keep_all: bool = Field(default=False, description="also bins outside the window go into the file")

    @model_validator(mode="after")
    def _one_way(self) -> TimeTable:
        ways = [self.edges, self.centres, self.ends, self.start if self.step is not None else None]
        if sum(way is not None for way in ways) != 1 or (self.start is None) != (self.step is None):
            raise ValueError("give one of edges, centres, ends, and start with step")
        return self


class TrialTable(_Table):
    """``[trial]``: what else is known of presentations."""

    onset: Source | None = None
    onset_unit: Literal["s", "ms", "us", "ns"] = "s"
    block: Source | None = None
    rep: Source | None = None
    valid: Source | None = None
    valid_is: list[int | float | str | bool] | None = Field(
        default=None, description="values of `valid` that mean: use it"
    )
    previous: Source | None = Field(default=None, description="the image shown before, as [image] id")
    on_ms: Source | None = None
    rows: list[Filter] = Field(default=[], description="only these presentations are taken")


_OWN = ("id", "site_id", "area", "electrode", "x_um", "y_um", "z_um")


class SiteTable(_Table):
    """``[site]``: what is known of sites."""

    id: Source | None = None
    prefix: str = Field(default="", description="put before ids; where there are none, before numbers counted from 1")
    order: Source | None = Field(default=None, description="positions that put the sites in order, before all else")
    order_counted_from: Literal[0, 1] | None = None
    area: Source | None = None
    electrode: Source | None = None
    x_um: Source | None = None
    y_um: Source | None = None
    z_um: Source | None = None
    columns: dict[str, Source] = Field(default={}, description="further columns, such as reliability")
    rows: list[Filter] = Field(default=[], description="only these sites are taken")

    @model_validator(mode="after")
    def _counted(self) -> SiteTable:
        if (self.order is None) != (self.order_counted_from is None):
            raise ValueError("order goes with order_counted_from = 0 or 1")
        for name in self.columns:
            if name in _OWN or not re.fullmatch(r"[A-Za-z]\w*", name):
                raise ValueError(f"a column cannot be called {name!r}: a word that is no key of [site]")
        return self


class BaselineTable(_Table):
    """``[baseline]``: responses without a stimulus."""

    array: str
    axes: list[Literal["trial", "image", "site", "one"]] = ["site"]


class EntriesTable(_Table):
    """``[entries]``: a long table, one row per presentation and site."""

    trial: Annotated[list[Source] | SourceTable, BeforeValidator(_named)]
    site: Source


class PicturesTable(_Table):
    """``[pictures]``: the images that were shown, where the files hold them."""

    array: str
    file: str | None = Field(default=None, description="where it is not a file of the responses")
    axes: list[Literal["image", "y", "x", "colour"]] = Field(description="what each axis of the array is")
    format: str = Field(default="image_{:05d}.png", description="names of the PNG files, by position")
    counted_from: Literal[0, 1] = Field(default=0, description="the number of the first picture in its name")

    @model_validator(mode="after")
    def _whole(self) -> PicturesTable:
        if sorted(self.axes) not in (["image", "x", "y"], ["colour", "image", "x", "y"]):
            raise ValueError("axes needs image, y and x once each, and colour where there is one")
        if not _FORMAT.fullmatch(self.format) or ":0" not in self.format or not self.format.endswith(".png"):
            raise ValueError('format needs one number with leading zeros and ends in .png, such as "image_{:05d}.png"')
        if any(mark in self.format for mark in "/\\"):
            raise ValueError("format names files, not folders")
        return self


_BESIDE_A_FORMAT = {"about", "trap", "notes", "format", "options", "subject", "session", "silent_trials"}
"""Keys of a map that may stand beside ``format``."""


class ImportMap(_Table):
    """The whole map.toml."""

    about: str = ""
    trap: list[str] = Field(default=[], description="what has given wrong numbers with this layout before")
    format: str | None = Field(
        default=None, description="a format with its own library, in place of [responses] and [image]"
    )
    options: dict[str, Any] = Field(default={}, description="the table [NAME] of the format")
    unit: str | None = None
    window_ms: tuple[float, float] | None = None
    subject: Text | None = None
    session: Text | None = None
    silent_trials: Literal["recorded"] | None = None
    notes: list[str] = []
    responses: ResponsesTable | None = None
    image: ImageTable | None = None
    time: TimeTable | None = None
    trial: TrialTable = TrialTable()
    site: SiteTable = SiteTable()
    baseline: BaselineTable | None = None
    pictures: PicturesTable | None = None
    entries: EntriesTable | None = None

    @model_validator(mode="after")
    def _whole(self) -> ImportMap:
        if self.format is not None:
            own = sorted(self.model_fields_set - _BESIDE_A_FORMAT)
            if own:
                raise ValueError(
                    f"format = {self.format!r} reads the files by itself: {own[0]} does not go with it or belongs into "
                    f"[{self.format}]"
                )
            return self
        if self.options or self.responses is None or self.image is None or self.unit is None:
            lacks = [name for name in ("unit", "responses", "image") if getattr(self, name) is None]
            raise ValueError(f"{', '.join(lacks) or 'format'} is missing")
        if self.unit not in UNITS:
            raise ValueError(f"unit = {self.unit!r} is none of {', '.join(UNITS)}")
        axes = self.responses.axes
        if self.window_ms is None and self.unit != "beta":
            raise ValueError("window_ms = [from, to] is missing: when, in ms after image onset, responses were counted")
        if ("time" in axes) != (self.time is not None):
            raise ValueError("the axis time and the section [time] go together")
        if ("entry" in axes) != (self.entries is not None):
            raise ValueError("the axis entry and the section [entries] go together")
        if self.responses.scale is not None and (self.responses.arrays is not None or self.entries is not None):
            raise ValueError("scale goes with one array: [responses] array with axes")
        if self.site.order is not None and self.entries is not None:
            raise ValueError("[site] order goes with the axis site, not with a long table")
        if self.image.order is not None and "image" not in axes:
            raise ValueError('order = "sorted" goes with the axis image; presentations need id')
        return self
