"""The process that reads hostile inputs, one after another, and tells after each what came of it.

python -m scripts.soak.inputs.trial --seconds 10                      # prints one line of JSON per input
python -m scripts.soak.inputs.trial --only npz --first 17 --count 1   # one input again, with its traceback
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from protocols.disk.shares import unread_error
from protocols.errors import CODES, DataError

from .catalogue import READERS
from .damage import Rng, damaged, no_file
from .format_edits import edited_bytes
from .hdf5_edits import edited as edited_hdf5
from .reader import MEBIBYTES, SECONDS, Reader
from .watch import Watch

ROOM = 3 << 30
"""Bytes of address space beyond those of the process at its begin: what asks for more is told that there is none."""
EACH_S = 0.005
"""Counted to every input besides its own time, so that the quickest readers do not have nearly all of them."""
HEAP = 4096 + MEBIBYTES
"""MiB where HDF5 takes the room for an entry of text, of a stated length of 32 bits, before it finds that it is not there."""
WAIT_S = 2 * SECONDS
"""Of the clock: a reading that waits longer, such as for a pipe, is broken off."""


class Waited(BaseException):
    """A reading did not come to an end."""


def _broken_off(*_: object) -> None:
    raise Waited


@dataclass
class Trial:
    """One reader with a whole input, kept in memory, and the folder that is made anew for every trial."""

    reader: Reader
    place: Path
    whole: dict[str, bytes]

    @classmethod
    def of(cls, reader: Reader, place: Path) -> Trial:
        """Make the whole input once."""
        made = place / "made"
        made.mkdir(parents=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.make(made)
        whole = {p.relative_to(made).as_posix(): p.read_bytes() for p in sorted(made.rglob("*")) if p.is_file()}
        folders = [p.relative_to(made).as_posix() + "/" for p in sorted(made.rglob("*")) if p.is_dir()]
        shutil.rmtree(made)
        return cls(reader, place, {**dict.fromkeys(folders, b""), **whole})

    def fresh(self) -> Path:
        """The whole input in a folder of its own."""
        folder = self.place / "input"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, data in self.whole.items():
            if name.endswith("/"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            else:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(data)
        return folder

    def hostile(self, folder: Path, rng: Rng) -> str:
        """Change one file of the input; what was done."""
        names = [n for n in self.whole if not n.endswith("/") and not any(Path(n).match(s) for s in self.reader.spared)]
        path = folder / names[int(rng.integers(len(names)))]
        data, draw = path.read_bytes(), rng.random()
        if draw < 0.04:
            return f"{path.name}: {no_file(path, rng)}"
        if draw < 0.5 and (data.startswith(b"\x89HDF") or data[512:516] == b"\x89HDF"):
            return f"{path.name}: {edited_hdf5(path, rng)}"
        told, made = edited_bytes(data, rng, path.name) if draw < 0.5 else damaged(data, rng)
        path.write_bytes(made)
        return f"{path.name}: {told}"


def outcome(reader: Reader, folder: Path, *, loud: bool = False) -> tuple[str, str, str]:
    """How a reading ended ("read", "refused", "traceback", "waited"), what it gave, and the words of an error."""
    signal.setitimer(signal.ITIMER_REAL, WAIT_S)
    try:
        return _outcome(reader, folder, loud=loud)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _outcome(reader: Reader, folder: Path, *, loud: bool) -> tuple[str, str, str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return "read", repr(zlib.crc32(repr(reader.read(folder)).encode("utf-8", "backslashreplace"))), ""
    except FileNotFoundError as error:  # the command line tells it with the name of the file (F15)
        return ("refused", str(unread_error(error)), "") if _is_told(error) else ("traceback", "", str(error))
    except reader.refusal as error:
        wrong = _wrong_words(error)
        if wrong and loud:
            traceback.print_exc()
        return ("traceback" if wrong else "refused"), str(error), wrong
    except Waited:
        if loud:
            traceback.print_exc()
        return "waited", "", f"no end within {WAIT_S:g} s"
    except Exception as error:
        if loud:
            traceback.print_exc()
        at = traceback.extract_tb(error.__traceback__)
        own = [f for f in at if "/protocols/" in f.filename or "/encoders/" in f.filename or "/synth/" in f.filename]
        where = f"{Path(own[-1].filename).name}:{own[-1].lineno} " if own else ""
        return "traceback", type(error).__name__, f"{where}{type(error).__name__}: {str(error)[:160]}"


def _is_told(error: FileNotFoundError) -> bool:
    return bool(error.filename) or "expected" in str(error)


def _wrong_words(error: ValueError) -> str:
    """Why a refusal would be of no use to a person; "" where it is."""
    text = str(error)
    if isinstance(error, DataError):
        if error.code not in CODES:
            return f"the code {error.code}"
    elif type(error) is not ValueError or (
        "expected" not in text and "Fix" not in text and "copy it again" not in text
    ):
        return f"a bare {type(error).__name__}: {text[:160]}"
    if len(text) > 6000:
        return f"a message of {len(text)} letters: {text[:80]}"
    strange = sorted(
        {c for c in text if ord(c) < 32 and c not in "\n\t"}
        | {c for c in text if 0xD800 <= ord(c) < 0xE000 or ord(c) in (0x7F, 0x202E)}
    )
    return f"letters that steer a terminal: {strange}" if strange else ""


def peak_reset() -> None:
    """Let the kernel count the peak of memory anew."""
    Path("/proc/self/clear_refs").write_text("5")


def memory(field: str) -> float:
    """MiB of a field of the process's status."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) / 1024
    return 0.0


def stands(folder: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of all that stands in a folder."""
    found = []
    for path in sorted(folder.rglob("*")):
        about = path.lstat()
        found.append((path.relative_to(folder).as_posix(), about.st_size if path.is_file() else 0, about.st_mtime_ns))
    return found


def trials(readers: Sequence[Reader], first: int, seconds: float, count: int | None) -> Iterator[dict[str, object]]:
    """Inputs in turns over the readers, until the time is over: records of what came of each."""
    home = Path(tempfile.mkdtemp(prefix="hostile-"))
    os.environ["TMPDIR"] = tempfile.tempdir = str(home)
    os.chdir(home)
    signal.signal(signal.SIGALRM, _broken_off)
    try:
        given = [Trial.of(reader, home / str(n)) for n, reader in enumerate(readers)]
        watch = Watch(home)
        for trial in given:
            yield {"begin": -1, "reader": trial.reader.name}
            ended, _, told = outcome(trial.reader, trial.fresh())
            yield {
                "number": -1,
                "reader": trial.reader.name,
                "what": "whole",
                "ended": ended,
                "told": told,
                "wrong": "" if ended == "read" else "lost",
            }
        used = memory("VmSize") * (1 << 20)
        resource.setrlimit(resource.RLIMIT_AS, (int(used) + ROOM, resource.RLIM_INFINITY))
        gc.collect()
        gc.freeze()  # what stays for good is not looked through again after each input
        end = time.monotonic() + seconds - (time.time() - psutil.Process().create_time())  # its start counts too
        spent = dict.fromkeys(range(len(given)), 0.0)
        numbers = dict.fromkeys(range(len(given)), first)
        while time.monotonic() < end and (count is None or numbers[0] < first + count):
            turn = min(spent, key=lambda n: (spent[n], n))  # each reader for as long as the others
            trial, number, start = given[turn], numbers[turn], time.process_time()
            yield {"begin": number, "reader": trial.reader.name}
            tried = _tried(trial, number, watch, loud=count is not None)
            yield {"number": number, "reader": trial.reader.name, **tried}
            spent[turn] += time.process_time() - start + EACH_S
            numbers[turn] += 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _tried(trial: Trial, number: int, watch: Watch, *, loud: bool) -> dict[str, object]:
    rng = np.random.default_rng([number, *trial.reader.name.encode()])
    folder = trial.fresh()
    told = trial.hostile(folder, rng)
    before = stands(folder)
    gc.collect()
    peak_reset()
    base, start = memory("VmRSS"), time.process_time()
    watch.begin()
    ended, gave, why = outcome(trial.reader, folder, loud=loud)
    heard = watch.end()
    took, grown = time.process_time() - start, memory("VmHWM") - base
    wrong = ended if ended == "traceback" else ""
    if heard:
        wrong, why = "lost", f"{why} {'; '.join(heard)}"
    elif ended == "waited" or took > SECONDS or grown > (HEAP if "global heap" in gave else MEBIBYTES):
        wrong, why = "lost", f"{why} {took:.1f} s of CPU, {grown:.0f} MiB"
    elif not wrong and (stands(folder) != before):
        wrong, why = "difference", "reading changed the files"
    elif not wrong and number % 4 == 0 and took < 1:
        again = outcome(trial.reader, folder)
        if again[:2] != (ended, gave):
            wrong, why = "difference", f"read twice: {ended} {gave[:100]} and {again[0]} {again[1][:100]}"
    return {"what": told, "ended": ended, "told": why, "wrong": wrong, "seconds": took, "MiB": grown}


def main() -> int:
    """Print a line per input."""
    parser = argparse.ArgumentParser(prog="python -m scripts.soak.inputs.trial", description=__doc__)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--only", help="names of readers, with | between")
    parser.add_argument("--family")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int)
    given = parser.parse_args()
    chosen = [
        r for r in READERS if (not given.only or r.name in given.only.split("|")) and given.family in (None, r.family)
    ]
    for record in trials(chosen, given.first, given.seconds, given.count):
        print(json.dumps(record), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
