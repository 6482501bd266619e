"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import looks, projects, rounds, sharing
from .app import app, main

__all__ = ["app", "looks", "main", "projects", "rounds", "sharing"]
