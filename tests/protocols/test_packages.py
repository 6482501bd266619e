from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import protocols
from protocols import packages as _packages

ROOT = Path(protocols.__file__).parents[1]
CHECK = "from protocols.packages import check_packages; check_packages(); print('one place')"


def python(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Run `code` with `folder` first on the path and the repository after it, as a user in that folder would."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": ""}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_three_packages_belong_together(tmp_path):
    _packages.check_packages()
    done = python(tmp_path, CHECK)
    assert done.stdout.strip() == "one place", done.stderr


def test_the_check_imports_nothing_heavy(tmp_path):
    done = python(
        tmp_path, CHECK + "; import sys; assert not {'torch', 'encoders', 'synth'} & set(sys.modules), 'imported'"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["encoders", "synth"])
@pytest.mark.parametrize("kind", ["module", "package"])
@pytest.mark.parametrize("loaded", [False, True])
def test_a_stranger_of_that_name_is_named(tmp_path, name, kind, loaded):
    stranger = tmp_path / f"{name}.py" if kind == "module" else tmp_path / name
    if kind == "package":
        stranger.mkdir()
    (stranger if kind == "module" else stranger / "__init__.py").write_text("")
    done = python(tmp_path, (f"import {name}; " if loaded else "") + CHECK)
    assert done.returncode != 0
    assert "ImportError" in done.stderr
    assert f"rename {stranger}," in done.stderr
    assert f"expected {ROOT / name}" in done.stderr


def test_different_versions_are_listed(monkeypatch):
    versions = {"encoders": "0.1.0", "synth": "0.0.9", "protocols": "0.1.0"}
    monkeypatch.setattr(_packages, "_version", lambda path: versions[path.parent.name])
    with pytest.raises(ImportError, match=r"synth 0\.0\.9.*expected one version"):
        _packages.check_packages()


def test_a_missing_package_is_said(monkeypatch):
    monkeypatch.setattr(_packages, "_location", lambda name: None)
    with pytest.raises(ImportError, match="finds no module"):
        _packages.check_packages()
