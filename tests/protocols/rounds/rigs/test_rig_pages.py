"""The pages of docs/rigs: their commands run, the software's log becomes responses/1 by the lines of the page, and the round takes
that answer.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from scipy.io import loadmat

from protocols.disk.png import write_png
from protocols.project.config.config import Config
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.config.template import template
from protocols.project.folder import Project
from protocols.recordings.adopt import import_baseline
from protocols.rounds.rigs import RIGS
from tests.protocols.helpers.commands import stimsynth
from tests.protocols.helpers.rig_software import OCTAVE, octave, psychopy
from tests.protocols.helpers.rig_software import rows as table_of
from tests.protocols.rounds.rigs import test_monkeylogic as ml
from tests.protocols.rounds.rigs import test_mworks as mw
from tests.protocols.rounds.rigs import test_psychtoolbox as ptb

PAGES = Path(__file__).parents[4] / "docs" / "rigs"
BLOCK = re.compile(r"```(bash|python|matlab|text)\n(.*?)```", re.DOTALL)
HDF5 = {
    "h5create.m": "function h5create(p, name, varargin)\nkept('create', name);\nend\n",
    "h5write.m": "function h5write(p, name, x)\nkept(name, x);\nend\n",
    "h5writeatt.m": "function h5writeatt(p, place, name, x)\nkept(['@' name], x);\nend\n",
    "string.m": "function s = string(x)\ns = x;\nend\n",
    "movefile.m": "function movefile(varargin)\nend\n",
    "kept.m": """
function kept(name, x)
persistent names values
if isempty(names), names = {}; values = {}; end
if strcmp(name, 'create'), return; end
names{end + 1} = name; values{end + 1} = x;
save('-v7', 'kept.mat', 'names', 'values');
end
""",
}
"""Stand-ins for MATLAB's HDF5 functions, which Octave lacks: they keep what was written in a MAT-file of version 7."""


@pytest.fixture(scope="module")
def made(tmp_path_factory, lab) -> Path:
    """A project with 50 imported photographs, whose round 0 can be exported."""
    folder = tmp_path_factory.mktemp("rigs")
    (folder / "pictures").mkdir()
    for stimulus in lab.photographs(50):
        write_png(folder / "pictures" / f"{stimulus.source_id}.png", stimulus.pixels)
    protocol = ProtocolConfig(baseline_repeats=2, blocks=2, blanks_per_block=2)
    config = Config(display=replace(lab.display, refresh_hz=60.0), protocol=protocol)
    project = Project.create(folder / "mylab", template(config))
    import_baseline(project, folder / "pictures")
    return folder / "mylab"


def show_psychopy(box: Path, work: Path) -> Path:
    """One fixation breaks, and its image is shown again: the log has the same block and rep twice."""
    (box / "rig_hooks.py").write_text(
        "calls = [0]\ndef fixating():\n    calls[0] += 1\n    return calls[0] != 40\n", encoding="utf-8"
    )
    done = psychopy(box, "--requeue")
    assert done.code == 0, done.text
    shutil.move(box.parent / "shown.csv", work / "shown.csv")
    return work / "shown.csv"


def show_generic(box: Path, work: Path) -> Path:
    """A program of one's own that loses every tenth image."""
    table = table_of(box / "generic_trials.csv")
    with open(work / "shown.csv", "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(["block", "rep", "image_id", "aborted"])
        writer.writerows([r["block"], r["rep"], r["image_id"], int(n % 10 == 9)] for n, r in enumerate(table))
    return work / "shown.csv"


def show_psychtoolbox(box: Path, work: Path) -> Path:
    done = ptb.run(SimpleNamespace(folder=box))
    assert "all presentations shown" in done.text
    shutil.move(box.parent / "work" / "shown.csv", work / "shown.csv")
    return work / "shown.csv"


def show_monkeylogic(box: Path, work: Path) -> Path:
    ml.run(SimpleNamespace(folder=box), "7")
    shutil.move(box.parent / "work" / "monkeylogic_shown.csv", work / "monkeylogic_shown.csv")
    return work / "monkeylogic_shown.csv"


def show_mworks(box: Path, work: Path) -> Path:
    """The states played by the test's parser, as events of a stand-in for ``mworks.data``."""
    ids = [row["image_id"] for row in table_of(box / "images.csv")]
    events, shown = [], []
    for time, (image, trial, block, rep, state) in enumerate(mw.played(mw.parsed(box), frozenset({3}))):
        events.append((time, "shown_state", state))
        if state == "on":
            shown.append(image)
            named = (
                ("shown_trial", trial),
                ("shown_block", block),
                ("shown_rep", rep),
                ("image_index", ids.index(image)),
            )
            events += [(time, name, value) for name, value in named]
    (work / "mworks").mkdir()
    (work / "mworks" / "__init__.py").write_text("", encoding="utf-8")
    (work / "mworks" / "data.py").write_text(
        f"from collections import namedtuple\nEvent = namedtuple('Event', 'time value')\nEVENTS = {events!r}\n"
        "class MWKFile:\n    def __init__(self, name): pass\n    def open(self): pass\n    def close(self): pass\n"
        "    def get_events(self, codes): return [Event(t, v) for t, n, v in EVENTS if n in codes]\n",
        encoding="utf-8",
    )
    shutil.copy(box / "images.csv", work / "images.csv")
    path = work / "order_shown.csv"
    path.write_text("image_id\n" + "\n".join(shown) + "\n", encoding="utf-8")
    return path


def show_presentation(box: Path, work: Path) -> Path:
    """What the program does, by its own files: one line per row of its order."""
    ids = re.findall(r'description = "(\w+)"', (box / "presentation_round.sce").read_text(encoding="ascii"))
    lines = [line.split("\t") for line in (box / "presentation_order.txt").read_text(encoding="ascii").splitlines()]
    rows = [f"{t},{b},{r},{ids[int(i) - 1]},{200 * n + 17},0" for n, (i, t, b, r) in enumerate(lines)]
    path = work / "stimsynth_shown.csv"
    path.write_text("\n".join(["trial,block,rep,image_id,onset_ms,aborted", *rows]) + "\n", encoding="utf-8")
    return path


SHOWS: dict[str, Callable[[Path, Path], Path]] = {
    "psychopy": show_psychopy,
    "psychtoolbox": show_psychtoolbox,
    "monkeylogic": show_monkeylogic,
    "mworks": show_mworks,
    "presentation": show_presentation,
    "generic": show_generic,
}


def test_every_rig_has_a_page_and_a_way_back():
    assert {path.stem for path in PAGES.glob("*.md")} - {"README"} == set(RIGS) - {"plain"} == set(SHOWS)
    table = (PAGES / "README.md").read_text(encoding="utf-8")
    assert all(f"({name}.md)" in table for name in SHOWS)


def record(log: Path, work: Path) -> int:
    """Counts that depend on the image, one row per row of the log, and the names of three sites."""
    images = [row["image_id"] for row in table_of(log)]
    generator = np.random.default_rng(1)
    rate = {image: generator.uniform(1, 12, 3) for image in sorted(set(images))}
    np.savetxt(work / "counts.csv", [generator.poisson(rate[i]) for i in images], delimiter=",", fmt="%d")
    (work / "sites.txt").write_text("v4_001\nv4_002\nv4_003\n", encoding="utf-8")
    return len(images)


def run_python(block: str, work: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{work}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", block], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def run_matlab(block: str, work: Path) -> None:
    """The block in Octave with `HDF5`; what was kept is written as MATLAB writes it: dimensions reversed."""
    for name, text in HDF5.items():
        (work / name).write_text(text, encoding="utf-8")
    octave(work, block)
    kept = loadmat(work / "kept.mat", simplify_cells=True)
    with h5py.File(work / "responses.h5", "w") as file:
        for name, value in zip(kept["names"], kept["values"], strict=True):
            if name.startswith("@"):
                file.attrs[name[1:]] = value
            elif isinstance(value[0], str):
                file.create_dataset(name, data=np.array([list(value)], dtype=object), dtype=h5py.string_dtype())
            else:
                file[name] = np.atleast_2d(value).T if np.ndim(value) > 1 else np.atleast_2d(value)


def run_bash(block: str, work: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The commands of stimsynth, in `work`; others are played by `SHOWS`."""
    told = ""
    for line in block.strip().splitlines():
        words = shlex.split(line, comments=True)
        if words[0] != "stimsynth":
            continue
        here = [str(work / w) if w in ("mylab", "to_the_rig", "responses.h5") else w for w in words[1:]]
        code, out, error = stimsynth(capsys, "-q", *here)
        assert code == 0, error
        told += out
    return told


@pytest.mark.parametrize("name", SHOWS)
def test_the_commands_of_a_page_run_and_the_round_takes_the_answer(name, made, tmp_path, capsys):
    text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
    blocks = BLOCK.findall(text)
    if "matlab" in dict(blocks) and OCTAVE is None:
        pytest.skip("GNU Octave is not installed: MATLAB code is not run")
    shutil.copytree(made, tmp_path / "mylab")
    first = next(block for kind, block in blocks if kind == "bash")
    lines = sorted(first.strip().splitlines(), key=lambda line: "export" not in line)  # the round must be there first
    run_bash("\n".join(lines), tmp_path, capsys)
    box = tmp_path / "to_the_rig"
    (outbox,) = tmp_path.glob("mylab/sessions/*/round_00/outbox")
    assert {p.name for p in box.iterdir()} == {p.name for p in outbox.iterdir()}
    log = SHOWS[name](box, tmp_path)
    rows = record(log, tmp_path)
    back = text.split("## The way back")[1]
    for kind, block in BLOCK.findall(back):
        if kind == "python":
            run_python(block, tmp_path)
        elif kind == "matlab":
            run_matlab(block, tmp_path)
        elif kind == "bash":
            run_bash(block, tmp_path, capsys)
    (ingested,) = tmp_path.glob("mylab/sessions/*/round_00/ingest.json")
    report = json.loads(ingested.read_text(encoding="utf-8"))
    with h5py.File(ingested.with_name("responses.h5")) as file:
        kept = file["responses"].shape
    assert kept[1] == 3
    assert kept[0] == {"generic": rows - 10, "mworks": rows - 1, "monkeylogic": rows - 1, "psychopy": rows - 1}.get(
        name, rows
    ), report


def test_the_key_of_the_index_page_is_read(tmp_path):
    from protocols.project.config.load import load_config

    (block,) = re.findall(r"```toml\n(.*?)```", (PAGES / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "project.toml"
    path.write_text("[display]\nwidth_px = 64\nheight_px = 64\nsize_deg = 4.0\n" + block, encoding="utf-8")
    assert load_config(path).rig.software == ("psychopy",)
