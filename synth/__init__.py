"""Synthesis: predicted responses -> images. Imports neither `encoders` nor `protocols`."""

__version__ = "0.1.0"
