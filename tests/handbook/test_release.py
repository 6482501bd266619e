"""The wheel and the source distribution: complete, without anything that does not belong there, and working elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scripts.release.dist import NEEDED, built, contents, files_of_packages, sdist_faults, wheel_faults

ROOT = Path(__file__).parents[2]
WANTED = {"protocols/a.py", "protocols/report/page.html"}
LICENCE = "x.dist-info/licenses/LICENSE"


@pytest.mark.slow
def test_the_wheel_is_complete_and_runs_outside_of_the_repository(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, source / name)
    for package in ("encoders", "synth", "protocols"):
        shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    (wheel,) = built(tmp_path / "dist", source, kinds=("wheel",))
    assert wheel_faults(contents(wheel), files_of_packages()) == []
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "installed")
    program = (
        "import protocols, sys; assert protocols.__file__.startswith(sys.argv[1]), protocols.__file__\n"
        "from typer.main import get_command; from protocols.cli.app import app\n"
        "import contextlib\n"
        "with contextlib.suppress(SystemExit): get_command(app)(['init', 'mylab'])\n"
        "from protocols.project.photograph_import import demo_photographs; assert len(demo_photographs()) == 600\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    words = [sys.executable, "-P", "-c", program, str(tmp_path / "installed")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mylab" / "project.toml").is_file()


def test_what_a_wheel_lacks_or_must_not_hold_is_named() -> None:
    assert wheel_faults({*WANTED, LICENCE}, WANTED) == []
    assert wheel_faults({"protocols/a.py", LICENCE}, WANTED) == ["the wheel lacks protocols/report/page.html"]
    assert wheel_faults({*WANTED, LICENCE, "tests/test_a.py"}, WANTED) == [
        "tests/test_a.py does not belong into the wheel"
    ]
    assert wheel_faults(WANTED, WANTED) == ["the wheel lacks its licence"]


def test_what_a_source_distribution_lacks_or_must_not_hold_is_named() -> None:
    good = {*WANTED, *NEEDED, "PKG-INFO", "stimsynth.egg-info/SOURCES.txt"}
    assert sdist_faults(good, WANTED) == []
    assert sdist_faults(good - {"CITATION.cff"}, WANTED) == ["the source distribution lacks CITATION.cff"]
    for bad in ("shared/data/a.h5", "build/site/index.html", "tests/__pycache__/a.pyc", "demo/project/project.toml"):
        assert sdist_faults({*good, bad}, WANTED) == [f"{bad} does not belong into the source distribution"]


def test_the_packages_hold_data_beside_code() -> None:
    kinds = {Path(name).suffix for name in files_of_packages()}
    assert kinds >= {".py", ".typed", ".zip", ".csv", ".html", ".toml", ".txt", ".safetensors"}
    assert not any("__pycache__" in name for name in files_of_packages())


def test_the_citation_names_this_version() -> None:
    import tomllib

    import protocols

    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert f"\nversion: {protocols.__version__}\n" in text
    assert protocols.__version__ == project["version"]
    assert f"\nlicense: {project['license']}\n" in text
