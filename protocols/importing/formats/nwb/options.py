"""What ``[nwb]`` of map.toml may say."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Wanted = str | float | bool | list[str | float]


class NwbOptions(BaseModel):
    """Where responses and images stand in an NWB file. What is left out is taken where only one thing is possible.

    Parameters
    ----------
    window_ms : (t0, t1)
        Response window relative to image onset.
    baseline_ms, subtract_baseline
        Window of a baseline, written beside the responses or subtracted.
    presentations : str
        Table of intervals ("trials", "natural_images_presentations") or IndexSeries.
    image_column, onset_column, valid_column, block_column : str
        Columns of the table.
    onset_from_start : bool
        `onset_column` counts from start_time of each row.
    template : str
        Images or ImageSeries whose pictures the numbers of `image_column` count.
    index_base : 0 or 1
        From where numbers of pictures count; NWB says 0.
    responses : str
        "units", or the name of a RoiResponseSeries or of a table of responses.
    unit : str
        Of a RoiResponseSeries or a table of responses.
    site_id_column, area_column : str
        Columns of the units or ROIs.
    keep_sites, keep_presentations : mapping
        Column to what it must be: a value, a list of values, or a comparison such as ">= 2".
    spike_seconds, onset_seconds : float
        Seconds per unit of the times of spikes (or frames) and of images in the file; NWB says 1.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_ms: tuple[float, float]
    baseline_ms: tuple[float, float] | None = None
    subtract_baseline: bool = False
    presentations: str = ""
    image_column: str = ""
    onset_column: str = ""
    onset_from_start: bool = False
    valid_column: str = ""
    block_column: str = ""
    template: str = ""
    index_base: Literal[0, 1] = 0
    responses: str = ""
    unit: str = ""
    site_id_column: str = ""
    area_column: str = ""
    keep_sites: dict[str, Wanted] = Field(default_factory=dict)
    keep_presentations: dict[str, Wanted] = Field(default_factory=dict)
    spike_seconds: float = Field(default=1.0, gt=0)
    onset_seconds: float = Field(default=1.0, gt=0)
