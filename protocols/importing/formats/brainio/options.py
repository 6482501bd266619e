"""What ``[brainio]`` of map.toml may say."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

Wanted = str | float | bool | list[str | float]


class BrainioOptions(BaseModel):
    """What an assembly does not say of itself.

    Parameters
    ----------
    unit : str
        Unit of the responses; needed unless the assembly has an attribute ``units``.
    window_ms : (t0, t1), optional
        Needed where there are several time bins, or none. A bin with these edges is taken as it is; else the bins in
        the window are combined by the reader of responses.
    variable : str
        Name of the responses, where the file holds several.
    site_id, stimulus_id : str
        Coordinates of neuroids and presentations that name sites and stimuli.
    area : str
        Coordinate of neuroids that names the area.
    keep_sites, keep_presentations : mapping
        Coordinate to what it must be: a value or a list of values.
    averaged_over : int, optional
        Presentations behind each row, where rows are averages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    unit: str = ""
    window_ms: tuple[float, float] | None = None
    variable: str = ""
    site_id: str = "neuroid_id"
    stimulus_id: str = ""
    area: str = "region"
    keep_sites: dict[str, Wanted] = Field(default_factory=dict)
    keep_presentations: dict[str, Wanted] = Field(default_factory=dict)
    averaged_over: int | None = Field(default=None, ge=1)
