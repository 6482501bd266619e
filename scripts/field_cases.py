"""Run the field cases of the shared folder with their imports mended, and print PASS or FAIL for each.

    python scripts/field_cases.py                    # all cases
    python scripts/field_cases.py data 07 08         # some: group and numbers

The cases are small inputs as labs really have them, each a script that checks the right behaviour. They import by names that have moved since.
This script copies them into a temporary folder, replaces those imports as `MOVED` lists them, and runs the copies. It leaves what they
assert as it is.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CASES = ROOT.parent / "shared" / "field"

FIT = """
from encoders import FitOptions as _Options, Recording as _Recording, fit_encoder as _fit
def fit_encoder(pixels, values, image_index, **given):
    what = {k: given.pop(k) for k in list(given) if k in _Recording.__dataclass_fields__}
    how = {k: given.pop(k) for k in list(given) if k in _Options.__dataclass_fields__}
    return _fit(_Recording(pixels=pixels, values=values, image_index=image_index, **what), _Options(**how), **given)
"""
MEMBERS = """
from encoders import ReadoutSpec
from encoders.fitting.members import fit_members as _members
def fit_members(spec, features, layers, targets, **how): return _members(spec, features, layers, targets=targets, **how)
"""
SCREEN = """
from encoders.fitting.trials import Thresholds as _Thresholds, Trials as Recording, read_trials as _read, screen as _screen
def read_recording(pixels, values, index, repeats, site_ids):
    return _read(pixels, values, index, repeats=repeats, site_ids=site_ids)
def Thresholds(fit, target, averages, seed): return _Thresholds(fit, target, averages)
def screen(trials, held_out, site_ids, thresholds): return _screen(trials, held_out, site_ids, thresholds=thresholds)
"""
COMPARE = """
from encoders import compare as _compare
def compare(candidates, pixels, values, image_index, **how):
    return _compare(candidates, pixels, values, image_index=image_index, **how)
"""
MOVED = {
    "from encoders.backbones import backbone\n": "from encoders import backbone\n",
    "from encoders.readouts import feature_maps\n": "from encoders.backbones.pooling import feature_maps\n",
    "from encoders.readouts import flatten_features\n": "from encoders.backbones.pooling import flatten_features\n",
    "from encoders.members import fit_members, ReadoutSpec\n": MEMBERS,
    "from encoders.members import ReadoutSpec\n": "from encoders import ReadoutSpec\n",
    "from encoders.regression import group_folds\n": "from encoders import group_folds\n",
    "from encoders.candidates import Candidate\n": "from encoders import Candidate\n",
    "from encoders.features import extract_features\n": "from encoders import extract_features\n",
    "from encoders.recording import Recording, Thresholds, screen\n": SCREEN,
    "from encoders.recording import read_recording, screen, Thresholds\n": SCREEN,
    "from encoders import fit_encoder\n": FIT,
    "from encoders import compare\n": COMPARE,
    "from protocols.recordings import adopt_recording\n": "from protocols.recordings.adopt import adopt_recording\n",
    "import protocols.recordings as R\n": "import protocols.recordings.adopt as R\n",
}
"""Import of a case -> what stands for it now."""


def mend(folder: Path) -> None:
    """Replace the imports of every case of a copied folder."""
    for path in sorted(folder.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        for old, new in MOVED.items():
            text = text.replace(old, new)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Copy, mend, run; the exit status is 1 where a case fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("choice", nargs="*", help="`data`, `synthesis`, numbers of cases; default: all")
    choice = parser.parse_args().choice
    if not CASES.is_dir():
        print(f"there is no folder {CASES.parent.name}/{CASES.name} beside the repository: nothing was run")
        return 2
    with tempfile.TemporaryDirectory(prefix="field_cases_") as scratch:
        copy = Path(scratch) / "field"
        shutil.copytree(CASES, copy, copy_function=shutil.copyfile)
        for path in [copy, *copy.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)
        mend(copy)
        known = [p for p in (str(ROOT), os.environ.get("PYTHONPATH", "")) if p]
        base = {"FIELD_BASE": f"{scratch}/base", "PYTHONPATH": os.pathsep.join(known)}
        return subprocess.run(
            [sys.executable, str(copy / "run.py"), *choice], env=os.environ | base, cwd=ROOT
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
