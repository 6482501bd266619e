"""The keys of a project.toml with their descriptions and defaults, read from the checked types."""

from __future__ import annotations

from dataclasses import MISSING
from dataclasses import fields as dataclass_fields
from typing import Any, NamedTuple, get_args, get_type_hints

from pydantic_core import PydanticUndefined

from protocols.project.display import Display

from .config import Config
from .section import Section


def keys_of(section: str) -> list[str]:
    """The keys of a section ("" = the sections themselves), in the order of the template."""
    return [key.name for key in described_keys(section)] if section else list(Config.model_fields)


class Key(NamedTuple):
    """One key of a section."""

    name: str
    description: str
    default: Any  # PydanticUndefined: required


def described_keys(section: str) -> list[Key]:
    """Name, description and default of every key of a section, in order."""
    if section == "display":
        hints = get_type_hints(Display, include_extras=True)
        no_default = {f.name: f.default for f in dataclass_fields(Display)}
        return [
            Key(name, get_args(hints[name])[-1].description, PydanticUndefined if default is MISSING else default)
            for name, default in no_default.items()
        ]
    model = Config.model_fields[section].annotation
    assert isinstance(model, type)
    assert issubclass(model, Section)
    return [Key(name, field.description or "", field.default) for name, field in model.model_fields.items()]
