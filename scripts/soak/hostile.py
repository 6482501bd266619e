"""Hostile files at every reader: read as they stand, or refused in words, in stated memory and time; and nothing else.

The readers are tried in turns in a process of their own (`inputs.trial`), each for as long as the others: every input is a
whole file of the product's own writers, or of a format's own library, changed by damage that knows nothing of the format or
by edits that do. Bounded fuzzing by mutation with known seeds; an input that fails is made again by its reader and number:

    python -m scripts.soak.inputs.trial --only "MATLAB 7" --first 17 --count 1
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from .inputs.catalogue import READERS
from .inputs.reader import MEBIBYTES, SECONDS
from .rows import ROOT, Row

HANG_S, START_S = 90.0, 300.0
"""Without a word for so long a process is taken to hang, and is killed; its start, with all imports, may take longer."""
FAMILIES = {reader.name: reader.family for reader in READERS}


@dataclass
class Tally:
    """What came of the inputs of one family."""

    tried: int = 0
    seconds: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, record: dict[str, object]) -> None:
        """Count one record of `inputs.trial`."""
        self.tried += 1
        self.seconds += float(str(record.get("seconds", 0)))
        self.ends[str(record["ended"])] += 1
        if wrong := str(record["wrong"]):
            self.wrong[wrong] += 1
            self.examples.append(f"{record['reader']} number {record['number']}, {record['what']}: {record['told']}")


def rows(seconds: float) -> list[Row]:
    """One line per family of readers, within `seconds`."""
    tallies = {family: Tally() for family in FAMILIES.values()}
    end, first = time.monotonic() + seconds, 0
    while (left := end - time.monotonic()) > 0 or not first:
        first = _process(first, left, tallies)
    return [_row(family, tally) for family, tally in tallies.items()]


def _row(family: str, tally: Tally) -> Row:
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
        seconds=tally.seconds,
        note=note,
    )


def _process(first: int, seconds: float, tallies: dict[str, Tally]) -> int:
    """Inputs from number `first` on in a new process; the number to go on with. A death or a hang counts as lost."""
    words = ["--first", str(first), "--seconds", f"{max(seconds, 1):.1f}"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    said: queue.Queue[str] = queue.Queue()
    begun: dict[str, object] = {}
    highest = first
    command = [sys.executable, "-m", "scripts.soak.inputs.trial", *words]
    with subprocess.Popen(
        command, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        threading.Thread(target=_listen, args=(process, said), daemon=True).start()
        why, patience = "", START_S
        while True:
            try:
                line = said.get(timeout=patience)
            except queue.Empty:
                why = f"no word for {patience:g} s"
                break
            if not line:
                break
            patience, record = HANG_S, json.loads(line)
            if "begin" in record:
                begun, highest = record, max(highest, int(record["begin"]))
            else:
                begun = {}
                tallies[FAMILIES[str(record["reader"])]].add(record)
        process.kill()
    if begun or (process.returncode and not why):
        why = why or f"the process ended with {process.returncode}"
        reader = str(begun.get("reader", READERS[0].name))
        record = {
            "reader": reader,
            "number": begun.get("begin"),
            "what": "",
            "ended": "died",
            "told": why,
            "wrong": "lost",
        }
        tallies[FAMILIES[reader]].add(record)
    return highest + 1


def _listen(process: subprocess.Popen[str], said: queue.Queue[str]) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        said.put(line)
    said.put("")
