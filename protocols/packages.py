"""Versions: of the three import packages, which must come from one place, and of the files that they write."""

from __future__ import annotations

import platform
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "h5py", "pillow", "safetensors", "diffusers")
PACKAGES = ("encoders", "synth", "protocols")
SCHEMAS: dict[str, tuple[int, str, str]] = {
    "accentuated": (1, "levels.json", "photographs changed to levels, by `accentuate`"),
    "comparison": (1, "fitted/comparison.json", "readouts compared, by `fit --compare`"),
    "control": (1, "evaluation.json", "verdicts of a round"),
    "decision": (1, "decisions.jsonl", "one decision per line"),
    "description": (1, "describe.json", "what sites prefer, by `describe`"),
    "drift": (1, "drift.json", "what changed at each site since the baseline"),
    "encoder": (2, "fitted/enc_.../encoder.json", "an encoder or validator, beside its weights"),
    "evolution": (1, "evolution/evolution.json", "images chosen at the end of an evolution"),
    "evolution_plan": (1, "evolution/plan.json", "what an evolution was begun with"),
    "evolution_scores": (1, "evolution/generation_NNN/scores.json", "scores of a generation of an evolution"),
    "figures": (1, "figures.json", "figures that `report --figures` wrote"),
    "fitted": (1, "fitted/for_round_NN.json", "which encoder makes the images of a round"),
    "generator_comparison": (1, "comparison.json", "generators compared, by `generate --compare`"),
    "honoured": (1, "sealed/decisions.json", "decisions that an export honoured"),
    "import": (1, "NAME.import.json", "map and decisions of an import"),
    "ingest": (1, "ingest.json", "what was found in the answer to a round"),
    "library_index": (1, "index.json", "what was computed for a library of pictures"),
    "library_search": (1, "search.json", "pictures found in a library"),
    "look": (1, "sealed/look_before_block_NN.json", "an interim look"),
    "manifest": (1, "outbox/manifest.json", "how a round is shown"),
    "objective": (1, "records of a batch", "an objective, row by row"),
    "order": (1, "outbox/order_from_block_NN.json", "the order after an interim look"),
    "preview": (1, "sealed/preview.json", "numbers of `preview`"),
    "recording": (1, "data/recording.json", "a recording made elsewhere, as it was taken"),
    "responses": (1, "responses.h5", "responses, trial by trial"),
    "shard_plan": (1, "plan.json", "a job that processes share"),
    "simple": (1, "simple.json", "simplified controllers, by `simplify`"),
    "stimulus_batch": (1, "controllers.h5, batch.h5", "images with predictions"),
    "subject": (1, "subject.json", "a simulated subject"),
    "tuning": (1, "tuning.json", "controllers at graded contrasts, sizes and places, by `tuning`"),
    "typed": (1, "typed.json", "types of new sites, by `discriminate`"),
    "types": (1, "types.json", "functional types of sites, by `discriminate`"),
    "what_if": (1, "what_if.json", "numbers behind the sliders of a page"),
}
"""Name of a schema: its newest version, the file that states it, and what stands there. A file states NAME/VERSION."""


def check_packages() -> None:
    """Raise `ImportError` where `encoders` or `synth` would be another project's module, or of another version than
    `protocols`.

    Nothing is imported: the check looks at where Python would find the packages and at the versions in their sources.
    """
    home = Path(__file__).resolve().parents[1]
    for name in ("encoders", "synth"):
        found = _location(name)
        if found != home / name / "__init__.py":
            raise ImportError(_advice(name, found, home))
    versions = {name: _version(home / name / "__init__.py") for name in PACKAGES}
    if len(set(versions.values())) > 1:
        listed = ", ".join(f"{name} {version}" for name, version in versions.items())
        raise ImportError(
            f"found {listed} in {home}; expected one version. Fix: uninstall stimsynth and install it again."
        )


def _location(name: str) -> Path | None:
    """The file that ``import name`` runs; None where there is none (nothing found, or a folder without
    ``__init__.py``).
    """
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded is not None:
        return Path(loaded).resolve()
    spec = find_spec(name) if name not in sys.modules else None
    return Path(spec.origin).resolve() if spec is not None and spec.origin is not None else None


def _version(path: Path) -> str:
    match = re.search(r'^__version__ = "([^"]+)"', path.read_text(encoding="utf-8"), re.MULTILINE)
    return match[1] if match else "without version"


def _advice(name: str, found: Path | None, home: Path) -> str:
    where = (
        f"{found}, which is not part of stimsynth" if found else f"no module, or a folder {name!r} without __init__.py"
    )
    stranger = (found.parent if found.name == "__init__.py" else found) if found else Path(name)
    return (
        f"`import {name}` finds {where}; expected {home / name}. Likely cause: a file or folder of that name in the "
        f"current folder or on PYTHONPATH comes first. Fix: rename {stranger}, or start Python in another folder."
    )


def version() -> str:
    """The version of this toolkit."""
    return _version(Path(__file__).resolve().with_name("__init__.py"))


def package_versions() -> tuple[dict[str, Any], dict[str, Any]]:
    """Name and version of this toolkit; Python, platform and the versions of the packages that results depend on."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed_version

    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = installed_version(name)
        except PackageNotFoundError:
            continue
    environment = {"python": platform.python_version(), "platform": platform.system(), "packages": found}
    return {"name": "stimsynth", "version": version()}, environment


def newer(stated: object) -> str:
    """The version that this toolkit knows of a schema whose stated version is a later one; "" for all else."""
    found = re.fullmatch(r"([a-z_]+)/([1-9][0-9]{0,8})", stated) if isinstance(stated, str) else None
    if found is None or found[1] not in SCHEMAS or int(found[2]) <= SCHEMAS[found[1]][0]:
        return ""
    return f"{found[1]}/{SCHEMAS[found[1]][0]}"
