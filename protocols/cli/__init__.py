"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import imports, looks, projects, rigs, rounds, sharing
from .app import app, main
from .insilico import controllers

__all__ = ["app", "controllers", "imports", "looks", "main", "projects", "rigs", "rounds", "sharing"]
