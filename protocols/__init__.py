"""Protocols: the experiment between two recording days. Imports `encoders` and `synth`."""

__version__ = "0.1.0"
