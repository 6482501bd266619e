"""The wheel and the source distribution: complete, without anything that does not belong there, and working elsewhere."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import protocols
from scripts.release.dist import (
    NEEDED,
    REQUIRED,
    built,
    contents,
    files_of_packages,
    metadata_faults,
    metadata_of,
    sdist_faults,
    wheel_faults,
)
from scripts.release.trying import placement_faults, try_release

ROOT = Path(__file__).parents[2]
WANTED = {"protocols/a.py", "protocols/report/page.html"}
LICENCE = "x.dist-info/licenses/LICENSE"


def built_from_a_copy(place: Path, kinds: tuple[str, ...]) -> list[Path]:
    """Files built from a copy of what they are made of: nothing is left in the repository, nothing of it is found."""
    source = place / "source"
    source.mkdir()
    skipped = shutil.ignore_patterns("__pycache__", ".hypothesis")
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source / path.name)
        elif path.name in (
            "encoders",
            "synth",
            "protocols",
            *(("docs", "scripts", "tests", ".ci") if "sdist" in kinds else ()),
        ):
            shutil.copytree(path, source / path.name, ignore=skipped)
    return built(place / "dist", source, kinds=kinds)


@pytest.mark.slow
def test_the_wheel_is_complete_and_runs_outside_of_the_repository(tmp_path: Path) -> None:
    (wheel,) = built_from_a_copy(tmp_path, ("wheel",))
    assert wheel_faults(contents(wheel), files_of_packages()) == []
    assert metadata_faults(metadata_of(wheel), protocols.__version__) == []
    assert f"-{protocols.__version__}-" in wheel.name
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


@pytest.mark.thorough
def test_the_wheel_works_in_an_environment_that_cannot_reach_the_repository(tmp_path: Path) -> None:
    made = {path.suffix: path for path in built_from_a_copy(tmp_path, ("sdist", "wheel"))}
    assert sdist_faults(contents(made[".gz"]), files_of_packages()) == []
    said = try_release(made[".whl"], made[".gz"], tmp_path)
    assert any(line.startswith("selftest ok    loop") for line in said), said
    assert "passed" in said[-1]
    assert "failed" not in said[-1]


def test_modules_from_elsewhere_and_missing_requirements_are_named(tmp_path: Path) -> None:
    inside = str(tmp_path / "lib" / "encoders" / "__init__.py")
    told = {"origins": {"encoders": inside, "tests": None}, "wrong": []}
    assert placement_faults(told, tmp_path) == []
    for origins, wrong, part in (
        ({"encoders": str(ROOT / "encoders" / "__init__.py")}, [], "not from the wheel"),
        ({"encoders": None}, [], "not from the wheel"),
        ({"encoders": inside, "tests": str(ROOT / "tests" / "__init__.py")}, [], "belongs to the repository"),
        ({"encoders": inside}, ["torch>=99: 2.0"], "torch>=99: 2.0"),
    ):
        (fault,) = placement_faults({"origins": origins, "wrong": wrong}, tmp_path)
        assert part in fault


def test_metadata_that_say_too_little_or_another_version_are_named() -> None:
    good = "\n".join(f"{name}: x" for name in REQUIRED if name != "Version") + "\nVersion: 1.0\n"
    assert metadata_faults(good, "1.0") == []
    assert metadata_faults(good, "2.0") == ["the metadata say version 1.0; the packages say 2.0"]
    assert metadata_faults(good.replace("License-File: x\n", ""), "1.0") == ["the metadata lack License-File"]
    assert metadata_faults(f"{good}Project-URL: Home, nowhere\n", "1.0") == [
        "the metadata name Home, nowhere, which is no page"
    ]


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


def test_there_is_one_version() -> None:
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert told["project"]["dynamic"] == ["version"]
    assert told["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "protocols.__version__"}
    assert f"\nversion: {protocols.__version__}\n" in text
    for package in ("encoders", "synth"):
        assert f'__version__ = "{protocols.__version__}"' in (ROOT / package / "__init__.py").read_text(
            encoding="utf-8"
        )
    assert f"\nlicense: {told['project']['license']}\n" in text
