"""The command line: parse, call, print. The work is done elsewhere."""

from __future__ import annotations

from . import cluster, generate, imports, looks, previews, projects, rigs, rounds, sharing
from .app import app, main
from .insilico import controllers, controversial, describe, discriminate, invariance, triplets
from .pages import decisions, serve

__all__ = [
    "app",
    "cluster",
    "controllers",
    "controversial",
    "decisions",
    "describe",
    "discriminate",
    "generate",
    "imports",
    "invariance",
    "looks",
    "main",
    "previews",
    "projects",
    "rigs",
    "rounds",
    "serve",
    "sharing",
    "triplets",
]
