"""Tutorials: scripts of docs/tutorials are run, each in a process and an empty folder of its own, and become pages with what they printed and drew.

python -m scripts.handbook.tutorials                   # run what changed, write the pages that say something else
python -m scripts.handbook.tutorials --check           # run what changed; exit 1 where a page says something else (`make docs`)
python -m scripts.handbook.tutorials batch diffusion   # these alone
python -m scripts.handbook.tutorials --jobs 1          # one at a time; default: two

A run is kept under build/tutorials and used again as long as the script and the packages are the same.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

from PIL import Image

from .tutorial_pages import differences, marked, page, pictures

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "docs" / "tutorials"
KEPT = ROOT / "build" / "tutorials"
HELPER = "lab.py"
"""What the scripts do in place of a laboratory; no tutorial itself."""
SIGN = "\x1epart"
WIDEST_PX, MOST_BYTES = 1200, 150_000
DONE = "digest.txt"


class TutorialFailure(RuntimeError):
    """A script did not run to its end, or did not write what it shows."""


def scripts() -> dict[str, Path]:
    """The tutorials by name."""
    return {path.stem: path for path in sorted(SCRIPTS.glob("*.py")) if path.name != HELPER}


@functools.cache
def packages_digest() -> str:
    """SHA-256 over all that a tutorial runs beside its script: the packages, their data, the helper, this folder, torch and numpy."""
    told = hashlib.sha256(f"{version('torch')} {version('numpy')} {version('pillow')}".encode())
    files = [p for package in ("encoders", "synth", "protocols") for p in (ROOT / package).rglob("*")]
    files += [SCRIPTS / HELPER, *Path(__file__).parent.glob("tutorial*.py")]
    for path in sorted(p for p in files if p.is_file() and p.suffix != ".pyc"):
        told.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    return told.hexdigest()


def digest(script: Path) -> str:
    """SHA-256 of a script with all that it runs."""
    return hashlib.sha256(packages_digest().encode() + script.read_bytes()).hexdigest()


def made(script: Path, kept: Path = KEPT) -> Path:
    """The folder of a script's page and pictures: of an earlier run of the same script and packages, else of a run now."""
    folder, now = kept / script.stem, digest(script)
    if not (folder / DONE).is_file() or (folder / DONE).read_text(encoding="utf-8") != now:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        write_page(script, folder)
        (folder / DONE).write_text(now, encoding="utf-8")
    return folder


def write_page(script: Path, folder: Path) -> None:
    """Run a script and write its page and pictures into `folder`.

    Raises
    ------
    TutorialFailure
        With the traceback of the script, or the name of the picture that is not there.
    """
    text = script.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="tutorial-") as place:
        outputs, seconds = run(script, Path(place))
        written = page(text, outputs, name=script.stem, seconds=seconds)
        if place in written or str(ROOT) in written:
            raise TutorialFailure(f"{script.name} prints the path of a folder of this machine")
        for shown, name in pictures(text).items():
            if not (source := Path(place) / "work" / shown).is_file():
                raise TutorialFailure(f"{script.name} shows {shown}, which it does not write")
            shrink(source, folder / name.format(script.stem))
    (folder / f"{script.stem}.md").write_text(written, encoding="utf-8")


def run(script: Path, place: Path) -> tuple[list[str], float]:
    """Run a script in the new folder `place`/work; what each of its parts printed, and the CPU time of all its processes in seconds."""
    copy, work = place / "script" / script.name, place / "work"
    for folder in (copy.parent, work):
        folder.mkdir(parents=True)
    copy.write_text(marked(script.read_text(encoding="utf-8"), SIGN), encoding="utf-8")
    shutil.copy(SCRIPTS / HELPER, copy.parent)
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "COLUMNS": "130", "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1", "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "4294967296", "NO_COLOR": "1",
    }  # fmt: skip
    with (place / "out").open("w+", encoding="utf-8") as out, (place / "err").open("w+", encoding="utf-8") as err:
        process = subprocess.Popen([sys.executable, str(copy)], cwd=work, env=environment, stdout=out, stderr=err)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        for stream in (out, err):
            stream.seek(0)
        printed, told = out.read(), err.read()
    if process.returncode:
        told = told.replace(str(copy.parent), "docs/tutorials")
        raise TutorialFailure(f"{script.name} failed\n{printed.split(SIGN)[-1][-2000:]}\n{told[-4000:]}")
    return [part.strip("\n") for part in printed.split(SIGN)[1:]], used.ru_utime + used.ru_stime


def shrink(source: Path, out: Path) -> None:
    """A picture as JPEG of at most `WIDEST_PX` and `MOST_BYTES`."""
    with Image.open(source) as opened:
        picture = opened.convert("RGB")
    picture.thumbnail((WIDEST_PX, 10 * WIDEST_PX), Image.Resampling.LANCZOS)
    for quality in (90, 80, 65, 50, 35):
        picture.save(out, quality=quality, optimize=True)
        if out.stat().st_size <= MOST_BYTES:
            return
    raise TutorialFailure(
        f"{out.name} has {out.stat().st_size} bytes; at most {MOST_BYTES} are for a picture of a page"
    )


def faults(folder: Path, committed: Path = SCRIPTS) -> list[str]:
    """Where the committed page or its pictures are not what a run made in `folder`."""
    name = folder.name
    old, new = committed / f"{name}.md", folder / f"{name}.md"
    if not old.is_file():
        return ["there is no page yet"]
    found = differences(old.read_text(encoding="utf-8"), new.read_text(encoding="utf-8"))
    before, after = ({p.name for p in place.glob(f"{name}-*.jpg")} for place in (committed, folder))
    found += [f"{picture} is not shown" for picture in sorted(before - after)]
    found += [f"{picture} is missing" for picture in sorted(after - before)]
    for picture in sorted(before & after):
        if (a := _size(committed / picture)) != (b := _size(folder / picture)):
            found.append(f"{picture} has {a} px, a run makes {b}")
    return found


def _size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def take(folder: Path, committed: Path = SCRIPTS) -> None:
    """Put a page and its pictures in the place of the committed ones."""
    for old in committed.glob(f"{folder.name}-*.jpg"):
        old.unlink()
    for new in folder.glob(f"{folder.name}*.*"):
        shutil.copy(new, committed)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tutorials and write or compare their pages; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="tutorials; default: all")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where a page says something else")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args(arguments)
    known = scripts()
    if unknown := [name for name in given.names if name not in known]:
        parser.error(f"no tutorial is called {', '.join(unknown)}; there are {', '.join(known)}")
    failed = False
    with ThreadPoolExecutor(given.jobs) as pool:
        runs = {name: pool.submit(made, known[name]) for name in given.names or known}
        for name, running in runs.items():
            try:
                folder = running.result()
            except TutorialFailure as failure:
                print(failure, file=sys.stderr)
                failed = True
                continue
            found = faults(folder)
            failed |= given.check and bool(found)
            for fault in found:
                print(f"docs/tutorials/{name}.md: {fault}")
            if found and not given.check:
                take(folder)
    if failed and given.check:
        print("run `python -m scripts.handbook.tutorials` and read the pages that it wrote", file=sys.stderr)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
