"""What holds for every test of a script."""

from __future__ import annotations

from tests.synth.conftest import no_global_randomness

__all__ = ["no_global_randomness"]
