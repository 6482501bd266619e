"""The sections of a project.toml, each with the checked type of its keys."""

from __future__ import annotations

from .config import Config


def _model(section: str) -> type:
    annotation = Config.model_fields[section].annotation
    assert isinstance(annotation, type)
    return annotation


SECTIONS: dict[str, type] = {section: _model(section) for section in Config.model_fields}
"""Name of a section to its type, in the order of the template."""
