"""Pages of the public names of a package, for mkdocstrings: read from the source, nothing is imported."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "encoders": "From images to predicted responses: networks, readouts, fits, scores. Images are float32 of shape (B, C, H, W) in [0, 1]; "
    "responses are float32 of shape (B, U), one column per site.",
    "synth": "From predicted responses to images: objectives, parameterisations, constraints, ascent, guided sampling. An encoder is any callable "
    "that takes images (B, C, H, W) in [0, 1] to responses (B, U).",
    "protocols": "The experiment: project folder, rig, recordings, verdicts, report.",
}
"""Packages, and the sentence on top of the page of each."""


def names(package: str) -> dict[str, str]:
    """Public names of a package, each with the full name of the module that defines it."""
    tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "_HOMES":
            homes: dict[str, str] = ast.literal_eval(node.value)
            return {name: f"{package}.{home}" for name, home in homes.items()}
    raise ValueError(f"{package}/__init__.py has no _HOMES")


def page(package: str) -> str:
    """The page in Markdown: a directive of mkdocstrings per public name."""
    lines = [f"# {package}", "", PACKAGES[package], ""]
    for name, home in sorted(names(package).items(), key=lambda item: item[0].lower()):
        lines += [f"::: {home}.{name}", ""]
    return "\n".join(lines)
