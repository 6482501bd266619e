"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import imports, looks, projects, rigs, rounds, sharing
from .app import app, main
from .insilico import controversial, triplets

__all__ = ["app", "controversial", "imports", "looks", "main", "projects", "rigs", "rounds", "sharing", "triplets"]
from .insilico import invariance

__all__ = ["app", "imports", "invariance", "looks", "main", "projects", "rigs", "rounds", "sharing"]
from .insilico import describe

__all__ = ["app", "describe", "imports", "looks", "main", "projects", "rigs", "rounds", "sharing"]
