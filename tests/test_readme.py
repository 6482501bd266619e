"""The README's programs are Python, import what exists, and name commands that exist."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_a_program_imports_what_exists(block: str) -> None:
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module or "")
            assert all(hasattr(module, alias.name) for alias in node.names), block


def test_every_command_named_exists() -> None:
    from protocols.cli.app import app

    known = set(get_command(app).commands)
    named = set(re.findall(r"stimsynth (\w+)", README)) - {"fits", "is"}
    assert named
    assert named <= known


def test_every_file_named_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert all((ROOT / link).exists() for link in links), [link for link in links if not (ROOT / link).exists()]


def test_protocols_evaluate_is_the_function_however_it_is_reached() -> None:
    import protocols
    import protocols.loop

    assert callable(protocols.evaluate)
    assert callable(protocols.run)
    assert protocols.loop.evaluate is protocols.evaluate


def test_the_module_that_one_brings_runs_as_printed() -> None:
    block = next(b for b in BLOCKS if "check_encoder" in b)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert len(names["batch"]) == 1  # type: ignore[arg-type]
