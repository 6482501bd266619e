"""Readers: one file a format, path -> Responses."""

from __future__ import annotations

from .hdf5 import read_responses, write_responses

__all__ = ["read_responses", "write_responses"]
