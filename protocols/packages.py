"""Check that the three import packages come from one place and have one version; list the versions for records."""

from __future__ import annotations

import platform
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

RECORDED_PACKAGES = ("torch", "torchvision", "timm", "numpy", "scipy", "h5py", "pillow", "safetensors", "diffusers")
PACKAGES = ("encoders", "synth", "protocols")


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
