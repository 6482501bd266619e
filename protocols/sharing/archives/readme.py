"""README.md and LICENCES.md of an archive: every file and column in words, for readers who do not have stimsynth."""

from __future__ import annotations

import re
from collections import Counter

from protocols.packages import version
from protocols.project.objectives import OBJECTIVES
from protocols.recordings.units import UNITS
from protocols.sharing.finished import Recorded
from protocols.sharing.pictures import Photographs

from .building import Building, Entry
from .citation import Citation

RECOMPUTE = """```python
import csv, json
from collections import defaultdict
from pathlib import Path

folder = Path("{folder}")


def table(name):
    return list(csv.DictReader((folder / name).read_text(encoding="utf-8").splitlines()))


def mean(values):
    return sum(values) / len(values)


known = {{row["image_id"] for row in table("key.csv")}}
trials = [t for t in table("trials.csv") if t["image_id"] in known and t.get("valid") != "0"]
trials = [t for t in trials if any(text for name, text in t.items() if name.startswith("response_"))]
for row in json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))["rows"]:
    if row["measured"] is None:
        continue
    column, of_block = "response_" + row["site"], defaultdict(list)
    used = [t for t in trials if t[column]]
    for t in used:
        of_block[t.get("block", "")].append(float(t[column]))
    whole = mean([float(t[column]) for t in used])
    own = [t for t in used if t["image_id"] == row["image_id"]]
    mine = [float(t[column]) - mean(of_block[t.get("block", "")]) + whole for t in own]
    print(row["objective"], row["site"], row["image_id"], len(mine), row["n"], mean(mine), row["measured"])
```"""


def readme_text(made: Building, citation: Citation, rounds: list[Recorded], *, name: str) -> str:
    """The text of README.md: the experiment, the notes, each file, each column, the way to the means."""
    title = citation.title or f"Closed-loop stimulus synthesis: {name}"
    lines = [f"# {title}", "", *_about(rounds), ""]
    if made.notes:
        lines += ["## What is not here", "", *(f"- {note}." for note in made.notes), ""]
    lines += ["## Files", "", "| file | what it is |", "|---|---|"]
    lines += [f"| `{path}` | {about} |" for path, about in _files(made.entries)]
    lines += [
        "| `datapackage.json` | Index of all files with hashes and columns (Data Package 1, frictionlessdata.io). |",
        "| `checksums.sha256` | SHA-256 of every file: `sha256sum -c checksums.sha256`. |",
        "",
        *_conventions(rounds),
        "## Columns",
        "",
        *_columns(made.entries),
    ]
    judged = next((r.name for r in rounds if r.report is not None), None)
    if judged is not None:
        lines += _verdicts(judged)
    return "\n".join(lines).rstrip() + "\n"


def _about(rounds: list[Recorded]) -> list[str]:
    known = [r for r in rounds if r.report is not None]
    kinds = sorted({s.objective for r in known if r.report is not None for s in r.report.objectives})
    lines = [
        "An encoder that predicts the responses of recorded sites was fitted to responses to photographs. Images "
        "(controllers) were synthesised that it predicted to drive a site, and shown in the next round, blinded and in "
        "random order among photographs. Whether a site was controlled was tested on single trials, against the best "
        "photograph shown again beside the controller.",
        "",
        f"{len(rounds)} rounds with responses, {len(known)} of them with verdicts. "
        f"Made with stimsynth {version()}; it is not needed to read these files.",
    ]
    told = [f"- {kind}: {OBJECTIVES[kind].description}." for kind in kinds if kind in OBJECTIVES]
    return [*lines, *(["", "What the images of each objective do:", "", *told] if told else [])]


def _conventions(rounds: list[Recorded]) -> list[str]:
    units = sorted({r.responses.unit for r in rounds})
    return [
        "## Conventions",
        "",
        "- Tables are UTF-8, comma-separated, with one header line. An empty cell is missing, 1 is yes, 0 is no.",
        "- Numbers are written in full: they are read back to the same bits.",
        *(f"- A response in {unit}: {UNITS[unit].sentence}." for unit in units),
        "- `trials.h5`: `responses` (trial, site), `image_id` (trial), `site_id` (site), `trial/...` one entry per "
        "trial, `site/...` one per site, attributes `units` and `window_ms`.",
        "- `manifest.json`: `display` gives the size of the images in px and in degrees of visual angle (`size_deg` is "
        "the width) and what a pixel value means; `timing` is in ms; `config` holds the settings of the round.",
        "- Images are 8-bit PNG, shown pixel by pixel as they are.",
        "- `encoders/.../encoder.safetensors` opens with the package safetensors; `encoder.json` describes it.",
        "",
    ]


def _files(entries: list[Entry]) -> list[tuple[str, str]]:
    """Path and text of each file; the images of a round are one line."""
    lines: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for entry in sorted(entries, key=lambda e: e.path):
        folder, images, _ = entry.path.partition("/images/")
        path = f"{folder}/images/*.png" if images else entry.path
        counts[path] += 1
        lines[path] = "Images as shown, named by `image_id`." if images else entry.about
    return [(path, f"{about} ({counts[path]} files)" if "*" in path else about) for path, about in lines.items()]


def _columns(entries: list[Entry]) -> list[str]:
    """A list of columns per kind of table: a table that every round has is described once."""
    kinds: dict[str, dict[str, str]] = {}
    for entry in sorted((e for e in entries if e.columns), key=lambda e: e.path):
        kind = re.sub(r"^(round_\d+|baseline)/", "round_NN/", entry.path)
        kind = re.sub(r"order_from_block_\d+", "order", kind)
        for c in entry.columns:
            kinds.setdefault(kind, {})[c.pattern or c.name] = f"({c.kind}): {c.about}"
    lines = []
    for kind, columns in kinds.items():
        lines += [f"### {kind}", "", *(f"- `{name}` {text}" for name, text in columns.items()), ""]
    return lines


def _verdicts(folder: str) -> list[str]:
    return [
        "## The means behind the verdicts",
        "",
        "`measured` in `evaluation.json` and `control.csv` is the mean response of the target site to its controller. "
        "Slow drift is removed first: from each response the mean of its block is subtracted, over all trials of "
        "images of the key, and the mean of all trials is added. This program computes it again from the tables alone "
        "and prints it beside the stored number; they are equal where both numbers of trials are (with interim looks, "
        "and where a trial lacks other sites that the objective needs, fewer trials were tested):",
        "",
        RECOMPUTE.format(folder=folder),
        "",
    ]


def licences_text(made: Building, licence: str, rounds: list[Recorded], *, photographs: Photographs) -> str:
    """The text of LICENCES.md."""
    own = f"the licence {licence}" if licence else "no licence that was stated (--licence): ask the authors"
    lines = [
        "# Licences",
        "",
        f"Responses, tables, verdicts, synthesised images and fitted readouts: {own}.",
        "Controllers may start from a photograph (`started_from` in key.csv); their pixels are optimised.",
        "",
    ]
    shown = Counter(photographs.licence(row) for r in rounds for row in r.key.rows)
    del shown[""]
    if shown:
        lines += ["Photographs that were shown, by licence:", "", "| licence | images |", "|---|---|"]
        lines += [f"| {_cell(name)} | {count} |" for name, count in sorted(shown.items())]
        lines += ["", "`licence` in images.csv gives it per image.", ""]
    others = [e for e in made.entries if e.licence and "/images/" not in e.path]
    lines += [f"`{entry.path}`: {entry.licence}." for entry in others]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    """A text as one cell of a table."""
    return " ".join(text.split()).replace("|", "/")
