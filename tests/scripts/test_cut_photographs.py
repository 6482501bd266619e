"""`scripts/cut_photographs.py` makes the built-in photographs again, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


@pytest.mark.slow
def test_cutting_the_built_in_photographs_again_gives_the_same_bytes():
    root = Path(__file__).parents[2]
    attribution = (root / "protocols" / "data" / "ATTRIBUTION.md").read_text(encoding="utf-8")
    for package in ("scikit-image", "scikit-learn", "matplotlib", "PyWavelets", "pillow"):
        try:
            found = metadata.version(package)
        except metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed (extra dev)")
        if f"{package} {found}" not in attribution:
            pytest.skip(
                f"{package} {found} is not the version that the photographs were cut with: other bytes are expected"
            )
    command = [sys.executable, str(root / "scripts" / "cut_photographs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
