"""A commented project.toml, written from the same definitions that `load_config` checks."""

from __future__ import annotations

import textwrap

from pydantic_core import PydanticUndefined

from protocols.disk.files import is_id
from protocols.disk.toml import described_keys, toml_value
from protocols.project.display import Display

from .config import Config
from .keys import SECTIONS
from .laboratories import MARK, Laboratory


def template(
    config: Config | None = None,
    *,
    name: str | None = None,
    display: Display | None = None,
    laboratory: Laboratory | None = None,
) -> str:
    """A commented project.toml that spells out every key with its unit and default.

    Parameters
    ----------
    config : Config or None
        The values to write; None: the defaults, with a display of 224 x 224 px, 8 degrees, grey, linearised.
    name : str or None
        Name of the project, instead of the one in `config`.
    display : Display or None
        Display, instead of the one in `config`.
    laboratory : Laboratory or None
        Its values instead of those in `config`, its reasons and questions above the keys.
    """
    config = config or Config(display=Display(width_px=224, height_px=224, size_deg=8.0))
    if name is not None:
        config = config.model_copy(update={"project": config.project.model_copy(update={"name": name})})
    if display is not None:
        config = config.model_copy(update={"display": display})
    if laboratory is not None:
        config = laboratory.applied(config)
    if not is_id(config.project.name):
        raise ValueError(f"project name {config.project.name!r}; expected a-z, then a-z, 0-9, _")
    values = config.to_dict()
    lines = [
        "# A stimsynth project. Every key is explained above it: [unit] meaning (default).",
        "# Keys that start with '#' are optional and left out. Unknown keys are errors. "
        "Paths are relative to this folder.",
    ]
    if laboratory is not None:
        lines += _about(laboratory)
    for section, model in SECTIONS.items():
        lines += ["", f"[{section}]"]
        for key in described_keys(model):
            value = values[section][key.name]
            default = "required" if key.default is PydanticUndefined else f"default {toml_value(key.default)}"
            lines += _comment(f"{key.description} ({default})")
            if laboratory is not None:
                lines += _of_laboratory(laboratory, section, key.name)
            lines.append(f"# {key.name} =" if value is None else f"{key.name} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, 110, initial_indent="# ", subsequent_indent="#   ")


def _about(laboratory: Laboratory) -> list[str]:
    """The head of a laboratory's file."""
    asked = len(laboratory.questions)
    lines = ["#", *_comment(f"Template: {laboratory.name}.")]
    if asked:
        lines += _comment(
            f"Only you know the answer to {asked} questions. Each stands above its key as {MARK}: set the key, then "
            "delete that line. `stimsynth check` names those that are left."
        )
    return lines + [line for text in laboratory.about for line in _comment(text)]


def _of_laboratory(laboratory: Laboratory, section: str, key: str) -> list[str]:
    """What a laboratory's template says of a key."""
    reason, question = laboratory.reasons.get((section, key)), laboratory.questions.get((section, key))
    lines = [] if reason is None else _comment(f"Here: {reason}.")
    return lines if question is None else [*lines, *_comment(f"{MARK}: {question}.")]
