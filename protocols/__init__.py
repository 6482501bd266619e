"""Protocols: the experiment between two recording days. Imports `encoders` and `synth`.

The names below are loaded on first use, so that ``stimsynth --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .packages import check_packages

__version__ = "0.1.0"

_HOMES = {
    "ControlReport": "verdict.control_report",
    "DataError": "errors",
    "Display": "project.display",
    "Project": "project.folder",
    "Responses": "recordings.responses",
    "Round": "project.folder",
    "State": "state",
    "evaluate": "verdict.evaluate",
    "read_key": "project.key",
    "read_responses": "recordings.readers",
    "run": "loop",
    "write_responses": "recordings.readers.hdf5",
}
__all__ = sorted(_HOMES)

check_packages()

if TYPE_CHECKING:
    from .errors import DataError as DataError
    from .loop import run as run
    from .project.display import Display as Display
    from .project.folder import Project as Project
    from .project.folder import Round as Round
    from .project.key import read_key as read_key
    from .recordings.readers import read_responses as read_responses
    from .recordings.readers.hdf5 import write_responses as write_responses
    from .recordings.responses import Responses as Responses
    from .state import State as State
    from .verdict.control_report import ControlReport as ControlReport
    from .verdict.evaluate import evaluate as evaluate


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'protocols' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
