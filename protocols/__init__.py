"""Protocols: the experiment between two recording days. Imports `encoders` and `synth`.

The names below are loaded on first use, so that ``stimsynth --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._packages import check_packages

__version__ = "0.1.0"

_HOMES = {
    "ControlReport": "control_report",
    "DataError": "errors",
    "Display": "display",
    "Project": "session",
    "Responses": "responses",
    "Round": "session",
    "State": "loop",
    "evaluate": "evaluation",
    "read_key": "key",
    "read_responses": "readers.hdf5",
    "run": "loop",
    "write_responses": "readers.hdf5",
}
__all__ = sorted(_HOMES)

check_packages()

if TYPE_CHECKING:
    from .display import Display as Display
    from .errors import DataError as DataError
    from .evaluation import ControlReport as ControlReport
    from .evaluation import evaluate as evaluate
    from .key import read_key as read_key
    from .loop import State as State
    from .loop import run as run
    from .readers.hdf5 import read_responses as read_responses
    from .readers.hdf5 import write_responses as write_responses
    from .responses import Responses as Responses
    from .session import Project as Project
    from .session import Round as Round


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module 'protocols' has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
