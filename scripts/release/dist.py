"""Build the wheel and the source distribution, and check what is in them.

    python -m scripts.release.dist --out dist          # both files; needs `build` and `setuptools`, and no network
    python -m scripts.release.dist --try               # also installs the wheel into a new environment, and tries it there
    python -m scripts.release.dist --try --from-index  # the same with all requirements from the package index (6 GB)

What `--try` does: scripts/release/trying.py. Without `--out` the files are made in a folder that is deleted.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from email.parser import Parser
from pathlib import Path, PurePosixPath

from .trying import try_release

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("encoders", "synth", "protocols")
NEEDED = (
    *("CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("SECURITY.md", "mkdocs.yml", "pyproject.toml", "docs/index.md", "scripts/make_batch.py", "tests/test_readme.py"),
)
"""What the source distribution must hold beside the packages."""
REQUIRED = (
    "Name",
    "Version",
    "Summary",
    "Requires-Python",
    "License-Expression",
    "License-File",
    "Description-Content-Type",
)
"""Fields of the wheel's metadata that must be there."""
IGNORED = ("__pycache__",)


def files_of_packages(root: Path = ROOT) -> set[str]:
    """Every file of the packages: all of them belong into the wheel, data as well as code."""
    found = (path for package in PACKAGES for path in (root / package).rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix() for path in found if not set(IGNORED) & set(path.parts)}


def wheel_faults(names: set[str], wanted: set[str]) -> list[str]:
    """What a wheel lacks, and what does not belong into it."""
    own = {name for name in names if ".dist-info/" not in name}
    faults = [f"the wheel lacks {name}" for name in sorted(wanted - own)]
    faults += [f"{name} does not belong into the wheel" for name in sorted(own - wanted)]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        faults.append("the wheel lacks its licence")
    return faults


def sdist_faults(names: set[str], wanted: set[str]) -> list[str]:
    """What a source distribution lacks, and what does not belong into it; names without their first folder."""
    faults = [f"the source distribution lacks {name}" for name in sorted({*wanted, *NEEDED} - names)]
    tops = {*PACKAGES, "docs", "scripts", "tests", ".ci", "stimsynth.egg-info"}
    foreign = {name for name in names if (parts := PurePosixPath(name).parts)[1:] and parts[0] not in tops}
    hidden = {name for name in names if set(PurePosixPath(name).parts) & {"__pycache__", "shared", ".git", ".venv"}}
    return faults + [f"{name} does not belong into the source distribution" for name in sorted(foreign | hidden)]


def contents(path: Path) -> set[str]:
    """The names of the files of a wheel or a source distribution."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return {name for name in wheel.namelist() if not name.endswith("/")}
    with tarfile.open(path) as archive:
        return {member.name.split("/", 1)[1] for member in archive.getmembers() if member.isfile()}


def built(out: Path, root: Path = ROOT, *, kinds: tuple[str, ...] = ("sdist", "wheel")) -> list[Path]:
    """Build into `out` without a network; returns the files."""
    options = [f"--{kind}" for kind in kinds]
    words = [sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", str(out), str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"the build failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return sorted([*out.glob("*.whl"), *out.glob("*.tar.gz")])


def metadata_faults(text: str, version: str) -> list[str]:
    """What the metadata of a wheel lack, or say wrongly."""
    told = Parser().parsestr(text)
    faults = [f"the metadata lack {name}" for name in REQUIRED if not told.get(name)]
    if told.get("Version") != version:
        faults.append(f"the metadata say version {told.get('Version')}; the packages say {version}")
    faults += [
        f"the metadata name {url}, which is no page" for url in told.get_all("Project-URL") or () if "://" not in url
    ]
    return faults


def metadata_of(wheel: Path) -> str:
    """The text of the file METADATA of a wheel."""
    with zipfile.ZipFile(wheel) as file:
        (name,) = [name for name in file.namelist() if name.endswith(".dist-info/METADATA")]
        return file.read(name).decode("utf-8")


def checked(out: Path) -> tuple[Path, Path]:
    """Build into `out`, check both files, and return the wheel and the source distribution."""
    from protocols.packages import version

    wanted, faults = files_of_packages(), []
    made = {path.suffix: path for path in built(out)}
    for path in made.values():
        names = contents(path)
        faults += wheel_faults(names, wanted) if path.suffix == ".whl" else sdist_faults(names, wanted)
        print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
    faults += metadata_faults(metadata_of(made[".whl"]), version())
    if faults:
        sys.exit("\n".join(faults))
    return made[".whl"], made[".gz"]


def main() -> None:
    """Build, check, try where that is asked for, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="new folder for the two files")
    parser.add_argument("--try", dest="tried", action="store_true", help="install the wheel elsewhere and try it")
    parser.add_argument("--from-index", action="store_true", help="with --try: requirements from the package index")
    parser.add_argument("--quick", action="store_true", help="with --try: no closed loop and no tests")
    arguments = parser.parse_args()
    if arguments.out is None and not arguments.tried:
        parser.error("give --out FOLDER, or --try")
    if arguments.out is not None and arguments.out.exists() and any(arguments.out.iterdir()):
        sys.exit(f"{arguments.out} is not empty")
    with tempfile.TemporaryDirectory(prefix="stimsynth_release_") as place:
        wheel, sdist = checked(arguments.out or Path(place) / "dist")
        if arguments.tried:
            how = {"from_index": arguments.from_index, "quick": arguments.quick}
            print("\n".join(try_release(wheel, sdist, Path(place), **how)))


if __name__ == "__main__":
    main()
