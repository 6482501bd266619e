"""Try a wheel where nothing of the repository can be reached: a new environment, `stimsynth selftest`, tests of the sdist."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path

from protocols.disk.files import inside

PACKAGES = ("encoders", "synth", "protocols")
INSTALLED_TESTS = (
    "tests/protocols/stats",
    "tests/protocols/project/config/test_config.py",
    "tests/protocols/cli/test_key_page.py",
    "tests/encoders/test_metrics.py",
)
"""Tests of the source distribution that are run against the installed wheel: short ones, of numbers and of files."""
WHERE = """
import importlib.util, json, sys
from importlib.metadata import requires, version
from packaging.requirements import Requirement
spec = {name: getattr(importlib.util.find_spec(name), "origin", None) for name in sys.argv[1:]}
wanted = [Requirement(line) for line in requires("stimsynth")]
wrong = []
for need in wanted:
    if need.marker is None or need.marker.evaluate({"extra": ""}):
        try:
            found = version(need.name)
        except Exception:
            found = None
        if found is None or not need.specifier.contains(found, prereleases=True):
            wrong.append(f"{need}: {found or 'not there'}")
print(json.dumps({"origins": spec, "wrong": wrong, "version": version("stimsynth")}))
"""


def clean_environment() -> dict[str, str]:
    """The environment without what lets Python reach the repository."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def environment_of(folder: Path, wheel: Path, *, from_index: bool) -> Path:
    """A new virtual environment in `folder` that holds the wheel; returns its Python.

    Requirements are borrowed from the Python that runs this, whose packages are read by a .pth file (files .pth of those
    packages are not, so that no editable installation shines through), or with `from_index` installed from the package
    index.
    """
    venv.create(folder, with_pip=from_index, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    words = ["install", "--quiet", "--disable-pip-version-check", str(wheel)]
    if from_index:
        run([str(python), "-m", "pip", *words], folder)
        return python
    home = run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    run([sys.executable, "-m", "pip", "--python", str(python), *words, "--no-deps", "--no-index"], folder)
    Path(home, "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    return python


def run(words: list[str], folder: Path) -> str:
    """What a command prints, started in `folder`; leaves with its last words where it fails."""
    done = subprocess.run(words, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(
            f"{' '.join(words[-4:])} failed with exit code {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
        )
    return done.stdout


def placement_faults(told: dict[str, object], home: Path) -> list[str]:
    """What is wrong with where the modules of an environment come from, and with its requirements.

    Parameters
    ----------
    told : dict
        ``origins``: module to file or None; ``wrong``: requirements that are not met.
    home : Path
        Folder of the environment.
    """
    origins, wrong = told["origins"], told["wrong"]
    assert isinstance(origins, dict)
    assert isinstance(wrong, list)
    faults = [f"requirement not met: {line}" for line in wrong]
    for name, origin in origins.items():
        inside = origin is not None and Path(origin).resolve().is_relative_to(home.resolve())
        if name in PACKAGES and not inside:
            faults.append(f"{name} comes from {origin}, not from the wheel")
        if name not in PACKAGES and origin is not None:
            faults.append(f"{name} can be imported, though it belongs to the repository")
    return faults


def tests_of(sdist: Path, folder: Path) -> Path:
    """The source distribution unpacked into `folder` without its packages, so that its tests find the installed ones."""
    with tarfile.open(sdist) as archive:
        for member in archive.getmembers():
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                path = inside(folder, member.name, listed_in=sdist)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.read())
    (root,) = [path for path in folder.iterdir() if path.is_dir()]
    for package in PACKAGES:
        shutil.rmtree(root / package)
    return root


def try_release(wheel: Path, sdist: Path, folder: Path, *, from_index: bool = False, quick: bool = False) -> list[str]:
    """Install the wheel into a new environment in `folder` and try it there; one sentence per thing that works.

    quick: `stimsynth selftest --quick`, and no tests of the source distribution. Leaves the program where something fails.
    """
    home = folder / "environment"
    python = environment_of(home, wheel.resolve(), from_index=from_index)
    nowhere = folder / "elsewhere"
    nowhere.mkdir()
    told = json.loads(run([str(python), "-c", WHERE, *PACKAGES, "tests", "scripts"], nowhere))
    if faults := placement_faults(told, home):
        sys.exit("\n".join(faults))
    how = "installed from the index" if from_index else "borrowed"
    said = [f"stimsynth {told['version']} in an environment of its own, requirements {how} and met"]
    program = python.with_name("stimsynth.exe" if os.name == "nt" else "stimsynth")
    if "Before the day" not in run([str(program), "--help"], nowhere):
        sys.exit("stimsynth --help lists no commands")
    tried = run([str(program), "--quiet", "selftest", *(["--quick"] if quick else [])], nowhere)
    said += [f"selftest {line}" for line in tried.splitlines()]
    if "files as packed" not in tried:
        sys.exit(f"selftest compared no files:\n{tried}")
    if not quick:
        root = tests_of(sdist.resolve(), folder / "sdist")
        if from_index:
            run([str(python), "-m", "pip", "install", "--quiet", "pytest", "hypothesis", "jsonschema"], nowhere)
        words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not thorough", *INSTALLED_TESTS]
        said.append(f"tests of the source distribution: {run([str(python), *words], root).splitlines()[-1]}")
    return said
