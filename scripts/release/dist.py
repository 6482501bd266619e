"""Build the wheel and the source distribution, and check what is in them.

Run `python -m scripts.release.dist --out dist`: it needs `build` and `setuptools`, and no network. `--into FOLDER` also installs the wheel
there by pip, without its requirements, so that `PYTHONPATH=FOLDER python -m protocols --version` runs outside of the repository.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("encoders", "synth", "protocols")
NEEDED = (
    *("CHANGELOG.md", "CITATION.cff", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md"),
    *("mkdocs.yml", "pyproject.toml", "docs/index.md", "scripts/make_batch.py", "tests/test_readme.py"),
)
"""What the source distribution must hold beside the packages."""
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


def main() -> None:
    """Build, check, and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="new folder for the two files")
    parser.add_argument("--into", type=Path, help="new folder to install the wheel into")
    arguments = parser.parse_args()
    if arguments.out.exists() and any(arguments.out.iterdir()):
        sys.exit(f"{arguments.out} is not empty")
    wanted, faults = files_of_packages(), []
    for path in built(arguments.out):
        names = contents(path)
        faults += wheel_faults(names, wanted) if path.suffix == ".whl" else sdist_faults(names, wanted)
        print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.1f} MB")
        if path.suffix == ".whl" and arguments.into:
            words = ["install", "--quiet", "--no-index", "--no-deps", "--target", str(arguments.into), str(path)]
            subprocess.run([sys.executable, "-m", "pip", *words], check=True)
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
