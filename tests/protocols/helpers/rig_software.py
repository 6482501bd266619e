"""Exported rounds with the files of every rig, and stand-ins for the software that shows them."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocols.disk.png import write_png
from protocols.project.outbox import PlannedTrial
from protocols.rounds.order import Trial
from protocols.rounds.rigs import ShownImage, Timing, write_rigs

OCTAVE = shutil.which("octave-cli")
needs_octave = pytest.mark.skipif(OCTAVE is None, reason="GNU Octave is not installed: MATLAB code is not run")

PSYCHOPY = '''
"""A stand-in for PsychoPy: records what is drawn and flipped, on a clock of 1 / FAKE_HZ s per flip."""
import json, os, sys, types

HZ = float(os.environ.get("FAKE_HZ", "60"))
DROP = json.loads(os.environ.get("FAKE_DROP", "[]"))     # flips that come one frame late
ESCAPE = int(os.environ.get("FAKE_ESCAPE", "-1"))        # flip after which escape is pressed
MEASURED = os.environ.get("FAKE_MEASURED", "")
record = open(os.environ["FAKE_RECORD"], "w", buffering=1)
state = {"time": 0.0, "flips": 0, "drawn": None}


def tell(**what):
    record.write(json.dumps(what) + "\\n")


class Window:
    size = json.loads(os.environ.get("FAKE_SIZE", "[1920, 1080]"))

    def __init__(self, **options):
        options["monitor"] = getattr(options["monitor"], "name", None)
        tell(what="window", **options)

    def getActualFrameRate(self):
        return None if MEASURED == "none" else float(MEASURED or HZ)

    def flip(self):
        state["flips"] += 1
        state["time"] += (2 if state["flips"] in DROP else 1) / HZ
        tell(what="flip", image=state["drawn"], time=state["time"])
        state["drawn"] = None
        return state["time"]

    def close(self):
        tell(what="closed")


class ImageStim:
    def __init__(self, window, *, image, units, size, pos, interpolate):
        assert os.path.isfile(image)
        self.name = os.path.basename(image)
        tell(what="image", name=self.name, units=units, size=size, pos=pos, interpolate=interpolate)

    def draw(self):
        state["drawn"] = self.name


class Monitor:
    def __init__(self, name):
        self.name = name

    def gammaIsDefault(self):
        return self.name.endswith("_raw")


def deg2pix(degrees, monitor):
    if "_" not in monitor.name:  # PsychoPy makes a monitor of any name, without a size
        raise ValueError("Monitor %s has no known size in pixels (SEE MONITOR CENTER)" % monitor.name)
    return degrees * float(monitor.name.split("_")[1])


def module(name, **items):
    made = types.ModuleType("psychopy." + name)
    made.__dict__.update(items)
    sys.modules["psychopy." + name] = made
    return made


visual = module("visual", Window=Window, ImageStim=ImageStim)
monitors = module("monitors", Monitor=Monitor)
event = module("event", getKeys=lambda keyList: ["escape"] if 0 <= ESCAPE <= state["flips"] else [])
core = module("core", quit=lambda: tell(what="quit"))
tools = module("tools")
module("tools.monitorunittools", deg2pix=deg2pix)
'''


def outbox(folder: Path, *, images: int = 5, blocks: int = 2, rigs: Sequence[str], **changed: Any) -> SimpleNamespace:
    """A folder with plain files and those of `rigs`; `changed` overrides display, timing, order, names or ``rig``."""
    ids = changed.pop("ids", [f"r01_{n:04d}_a{n}x" for n in range(1, images + 1)])
    on_ms, off_ms = changed.pop("on_ms", 100.0), changed.pop("off_ms", 100.0)
    config, filename = changed.pop("rig", {}), changed.pop("filename", "images/{}.png".format)
    display: dict[str, Any] = {
        "width_px": 24, "height_px": 20, "size_deg": 4.0, "background": 128, "encoding": "linear", "gamma": None,
        "refresh_hz": 60.0,
    } | changed  # fmt: skip
    generator = np.random.default_rng(3)
    order = [
        Trial(block * len(ids) + place, block, block, ids[image])
        for block in range(blocks)
        for place, image in enumerate(generator.permutation(len(ids)))
    ]
    shown = {}
    for image_id in ids:
        path = folder / filename(image_id)
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (display["height_px"], display["width_px"], 1), dtype=np.uint8)
        write_png(path, pixels)
        shown[image_id] = ShownImage(
            filename=filename(image_id), width_px=display["width_px"], height_px=display["height_px"], sha256="0" * 64
        )
    manifest = {"session": "ses_20261121", "round": 1, "display": display, "config": {"rig": config}}
    timing = Timing(on_ms=on_ms, off_ms=off_ms, response_window_ms=(70.0, 170.0))
    written = write_rigs(folder, order, shown, timing=timing, manifest=manifest, rigs=tuple(rigs))
    return SimpleNamespace(folder=folder, order=order, images=shown, written=written, manifest=manifest, timing=timing)


def rows(path: Path) -> list[dict[str, str]]:
    """A table as dicts."""
    with open(path, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def planned(order: Sequence[Trial] | Sequence[PlannedTrial]) -> list[tuple[str, ...]]:
    """Trial, block, rep and image of each presentation, as a log has them."""
    return [(str(t.trial), str(t.block), str(t.rep), t.image_id) for t in order]


def logged(table: Sequence[Mapping[str, str]]) -> list[tuple[str, ...]]:
    """The same of a log."""
    return [(r["trial"], r["block"], r["rep"], r["image_id"]) for r in table]


def psychopy(box: Path, *words: str, **fake: Any) -> SimpleNamespace:
    """Run the PsychoPy script with the stand-in; its log, what the stand-in recorded, exit code and output."""
    site = box.parent / "site" / "psychopy"
    site.mkdir(parents=True, exist_ok=True)
    (site / "__init__.py").write_text(PSYCHOPY, encoding="utf-8")
    log, record = box.parent / "shown.csv", box.parent / "record.jsonl"
    log.unlink(missing_ok=True)
    record.write_text("", encoding="utf-8")
    settings = {f"FAKE_{key.upper()}": str(value) for key, value in fake.items()}
    environment = {**os.environ, "PYTHONPATH": str(site.parent), "FAKE_RECORD": str(record), **settings}
    done = subprocess.run(
        [sys.executable, "-S", str(box / "psychopy_present.py"), "--log", str(log), *words],
        env=environment, cwd=box.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    told = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
    return SimpleNamespace(
        code=done.returncode, text=done.stdout + done.stderr, told=told, log=rows(log) if log.is_file() else []
    )


def octave(folder: Path, program: str) -> str:
    """Run MATLAB code in Octave, in `folder`; returns what it printed."""
    assert OCTAVE is not None
    done = subprocess.run(
        [OCTAVE, "--no-gui", "--norc", "--quiet", "--eval", program],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
