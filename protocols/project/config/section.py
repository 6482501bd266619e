"""What every section of a project.toml is built of: the strict base and the types of its keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protocols.disk.files import ID_PATTERN

Fraction = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Name = Annotated[str, Field(pattern=ID_PATTERN.pattern)]
Milliseconds = Annotated[float, Field(gt=0, le=60_000)]


class Section(BaseModel):
    """A section of project.toml. Units stand in square brackets at the head of each description."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
