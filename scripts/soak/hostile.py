"""Hostile files at every reader: read as they stand, or refused in words, in stated memory and time; and nothing else.

Each family of readers is tried in a process of its own (`inputs.trial`): every input is a whole file of the product's own
writers, or of a format's own library, changed by damage that knows nothing of the format or by edits that do. Bounded
fuzzing by mutation with known seeds: an input that fails is made again by the command that its note names.
"""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from .inputs.catalogue import READERS
from .inputs.reader import MEBIBYTES, SECONDS
from .rows import ROOT, Row

HANG = 60.0
"""Seconds without a word after which the process is taken to hang, and is killed."""


@dataclass
class Tally:
    """What came of the inputs of one family."""

    tried: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, record: dict[str, object]) -> None:
        """Count one record of `inputs.trial`."""
        self.tried += 1
        self.ends[str(record["ended"])] += 1
        if wrong := str(record["wrong"]):
            self.wrong[wrong] += 1
            self.examples.append(f"{record['reader']} number {record['number']}, {record['what']}: {record['told']}")


def rows(seconds: float) -> list[Row]:
    """One line per family of readers, within `seconds`."""
    names = {reader.family: 0 for reader in READERS}
    for reader in READERS:
        names[reader.family] += 1
    share = seconds / (len(READERS) + 2 * len(names))
    return [_row(family, (count + 2) * share) for family, count in names.items()]


def _row(family: str, seconds: float) -> Row:
    start, tally = time.monotonic(), Tally()
    first = 0
    while (left := start + seconds - time.monotonic()) > 0:
        first = _process(family, first, left, tally)
    for example in tally.examples:
        print(f"hostile: {example}", file=sys.stderr)
    note = (
        f"{tally.ends['read']:,} read, {tally.ends['refused']:,} refused; each within {MEBIBYTES} MiB and {SECONDS:g} s"
    )
    if tally.examples:
        note += f"; {tally.examples[0][:160]}"
    return Row(
        part="hostile",
        what=family,
        tried=tally.tried,
        lost=tally.wrong["lost"],
        tracebacks=tally.wrong["traceback"],
        differences=tally.wrong["difference"],
        seconds=time.monotonic() - start,
        note=note,
    )


def _process(family: str, first: int, seconds: float, tally: Tally) -> int:
    """Inputs from number `first` on in a new process; the number to go on with. A death or a hang counts as lost."""
    command = [
        sys.executable,
        "-m",
        "scripts.soak.inputs.trial",
        "--family",
        family,
        "--first",
        str(first),
        "--seconds",
        f"{seconds:.1f}",
    ]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    begun: dict[str, object] = {"begin": first - 1, "reader": "none"}
    open_ = False
    with (
        subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process,
        selectors.DefaultSelector() as waiting,
    ):
        assert process.stdout is not None
        waiting.register(process.stdout, selectors.EVENT_READ)
        while waiting.select(HANG):
            line = process.stdout.readline()
            if not line:
                break
            record = json.loads(line)
            open_ = "begin" in record
            if open_:
                begun = record
            else:
                tally.add(record)
        hung = process.poll() is None and open_
        process.kill()
        told = "" if hung or process.stderr is None else process.stderr.read()[-300:]
    if open_:
        why = f"no word for {HANG:g} s" if hung else f"the process ended with {process.returncode}: {told}"
        tally.add(
            {
                "reader": begun["reader"],
                "number": begun["begin"],
                "what": "",
                "ended": "died",
                "told": why,
                "wrong": "lost",
            }
        )
    return int(str(begun["begin"])) + 1
