"""Programs that are made of several files start as they are run, and tables of files name files that exist."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("program", ["scripts/studies/v4_control.py"])
def test_a_program_finds_the_files_beside_it(program: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / program), "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_every_file_of_the_areas_of_mutation_exists() -> None:
    tree = ast.parse((ROOT / "scripts" / "mutation.py").read_text(encoding="utf-8"))
    areas = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "AREAS"
    )
    patterns = [n.value for n in ast.walk(areas) if isinstance(n, ast.Constant) and str(n.value).endswith(".py")]
    assert len(patterns) > 15
    missing = [pattern for pattern in patterns if not list(ROOT.glob(str(pattern)))]
    assert not missing
