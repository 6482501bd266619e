"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import imports, looks, projects, rounds
from .app import app, main

__all__ = ["app", "imports", "looks", "main", "projects", "rounds"]
from . import looks, projects, rigs, rounds
from .app import app, main

__all__ = ["app", "looks", "main", "projects", "rigs", "rounds"]
from . import looks, projects, rounds, sharing
from .app import app, main

__all__ = ["app", "looks", "main", "projects", "rounds", "sharing"]
