"""A commented project.toml, written from the same definitions that `load_config` checks."""

from __future__ import annotations

import textwrap

from pydantic_core import PydanticUndefined

from protocols.disk.files import is_id
from protocols.disk.toml import described_keys, toml_value
from protocols.project.display import Display

from .config import Config
from .keys import SECTIONS


def template(config: Config | None = None, *, name: str | None = None, display: Display | None = None) -> str:
    """A commented project.toml that spells out every key with its unit and default.

    Parameters
    ----------
    config : Config or None
        The values to write; None: the defaults, with a display of 224 x 224 px, 8 degrees, grey, linearised.
    name : str or None
        Name of the project, instead of the one in `config`.
    display : Display or None
        Display, instead of the one in `config`.
    """
    config = config or Config(display=Display(width_px=224, height_px=224, size_deg=8.0))
    if name is not None:
        config = config.model_copy(update={"project": config.project.model_copy(update={"name": name})})
    if display is not None:
        config = config.model_copy(update={"display": display})
    if not is_id(config.project.name):
        raise ValueError(f"project name {config.project.name!r}; expected a-z, then a-z, 0-9, _")
    values = config.to_dict()
    lines = [
        "# A stimsynth project. Every key is explained above it: [unit] meaning (default).",
        "# Keys that start with '#' are optional and left out. Unknown keys are errors. "
        "Paths are relative to this folder.",
    ]
    for section, model in SECTIONS.items():
        lines += ["", f"[{section}]"]
        for key in described_keys(model):
            value = values[section][key.name]
            default = "required" if key.default is PydanticUndefined else f"default {toml_value(key.default)}"
            lines += textwrap.wrap(f"{key.description} ({default})", 110, initial_indent="# ", subsequent_indent="#   ")
            lines.append(f"# {key.name} =" if value is None else f"{key.name} = {toml_value(value)}")
    return "\n".join(lines) + "\n"
