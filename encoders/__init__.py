"""Encoders: images -> predicted responses. Imports neither `synth` nor `protocols`."""

__version__ = "0.1.0"
