"""The record of a fit: which encoder makes the images of a round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    pass


def maker(record: dict[str, Any]) -> str:
    """Folder of the encoder that makes the images of a round (`record`: `Project.fitted_for`): the final one where there is one, else the scored one."""
    return str(record.get("final") or record["encoder"])
