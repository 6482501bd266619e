"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import evolve, imports, looks, projects, rigs, rounds, sharing
from .app import app, main

__all__ = ["app", "evolve", "imports", "looks", "main", "projects", "rigs", "rounds", "sharing"]
