"""From what a study prints or writes to the tables of its record."""

from __future__ import annotations

import csv
import json
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .records import records
from .tables import Printed, Shown, Table, numbers, tables_in


@dataclass(frozen=True)
class Outcome:
    """What the commands of a study printed, in order, the folder that they wrote into, and when and from what the last one ran."""

    printed: Sequence[str]
    folder: Path
    measured: str = ""


Reader = Callable[[Outcome], dict[str, Shown]]


def printed_tables(*names: str) -> Reader:
    """The Markdown tables of all commands in order, as they are."""

    def read(outcome: Outcome) -> dict[str, Shown]:
        found = [table for text in outcome.printed for _, table in tables_in(text)]
        if len(found) != len(names):
            raise ValueError(f"{len(found)} tables printed, {len(names)} expected: {', '.join(names)}")
        return dict(zip(names, found, strict=True))

    return read


def printed_text(*names: str, begins: str) -> Reader:
    """What each command prints, from the first line that begins so; several commands for one name follow each other."""

    def read(outcome: Outcome) -> dict[str, Shown]:
        blocks = []
        for text in outcome.printed:
            lines = [line.rstrip() for line in text.splitlines() if line.strip()]
            start = next(i for i, line in enumerate(lines) if line.startswith(begins))
            blocks.append(lines[start:])
        if len(names) == 1:
            blocks = [[line for block in blocks for line in block]]
        return {name: Printed(tuple(block)) for name, block in zip(names, blocks, strict=True)}

    return read


def planner(outcome: Outcome) -> dict[str, Shown]:
    """Shortfalls and power of planner_check, one row per what is known, and per evoked spikes."""
    (_, lost), (_, power) = tables_in(outcome.printed[0])
    by: dict[tuple[str, str], dict[str, tuple[str, str]]] = {}
    for known, objective, count, shortfall, told in lost.rows:
        by.setdefault((known, count), {})[objective] = (shortfall, told)
    rows = tuple((*key, *cells["stretch"], *cells["one_hot"]) for key, cells in by.items() if key[1] != "3")
    first = Table(("known by", "references", "stretch: shortfall", "told", "one_hot: shortfall", "told"), rows)
    heads, levels = dict.fromkeys((count, repeats) for _, count, repeats, *_ in power.rows), dict[str, list[str]]()
    for level, _, _, simulated, normal in power.rows:
        levels.setdefault(level, []).append(f"{simulated.removesuffix(' %')} / {normal}")
    columns = [f"{n} reference{'s' * (n != '1')}, {r}{' repeats' * (n == '1')}" for n, r in heads]
    lines = [(f"{level}{', simulated / normal' * (i == 0)}", *cells) for i, (level, cells) in enumerate(levels.items())]
    return {"references": first, "power": Table(("evoked spikes", *columns), tuple(lines))}


def interim(outcome: Outcome) -> dict[str, Shown]:
    """Answers at the boundary null, and with control, of all designs."""
    rows = [row for text in outcome.printed for _, table in tables_in(text) for row in table.rows]
    null = [row for row in rows if row[1].partition(":")[0] in ("stretch", "one_hot")]
    control = [row[:4] for row in rows if row not in null]
    return {
        "null": Table(("Design", "Question", "Found", "99 % interval", "Promised", "Holds"), tuple(null)),
        "control": Table(("Design", "Question", "Found", "Interval"), tuple(control)),
    }


def generators(outcome: Outcome) -> dict[str, Shown]:
    """Arms of v4_generators, one table per recording, without the seconds."""
    tables = [table for _, table in tables_in(outcome.printed[-1])]
    found: dict[str, Shown] = {}
    for session, table in zip(re.findall(r"recording (\d{6})", outcome.printed[-1]), tables, strict=True):
        found[session] = Table(table.columns[:-1], tuple(row[:-1] for row in table.rows))
    return found


def scale(outcome: Outcome) -> dict[str, Shown]:
    """The rows that scale.py prints; those of single commands stay as they are."""
    ((_, table),) = tables_in(outcome.printed[0])
    return {"sizes": table}


def memory(outcome: Outcome) -> dict[str, Shown]:
    """Tables per step from table_memory; what they were before the blocks stays as it was seen then."""
    ((_, found),) = tables_in(outcome.printed[0])
    old = records()["memory"].tables["tables"]
    assert isinstance(old, Table)
    rows = [(*row[:3], old.cell(row[0], "before"), *row[3:]) for row in found.rows]
    return {"tables": Table((*found.columns[:3], "before", *found.columns[3:]), tuple(rows))}


def mutation(outcome: Outcome) -> dict[str, Shown]:
    """Areas of which mutation.py drew mutants; rows of other areas and of earlier states of the tests stay."""
    old = records()["mutation"].tables["areas"]
    assert isinstance(old, Table)
    told = r"(\w+): (\d+) of (\d+) noticed, ([\d.]+ %), 95 % interval ([\d.-]+ %), of (\d+) mutants"
    found = {
        area: (area, every, drawn, noticed, share, interval, "the tests as they stand")
        for area, noticed, drawn, share, interval, every in re.findall(told, outcome.printed[0])
    }
    return {"areas": Table(old.columns, tuple(found.get(row[0], row) for row in old.rows))}


TIMED = {
    "lucent": "lucent 0.1.8, defaults",
    "mei's loop, rewritten": "mei's published loop, **our rewriting**",
    "ours, best photograph": "`ascend`, defaults, from the best measured photograph",
    "quick": "**`recipes.quick`**, from the same photograph",
    "quick, shifted": "the same with the default's shifts",
}
"""Rows of bench_quality as the page names them."""


def quality(outcome: Outcome) -> dict[str, Shown]:
    """Seconds to the goal and their ratios, medians over the draws of sites, from the tables of bench_quality (one per draw)."""
    found: dict[str, list[list[float]]] = {}
    for text in outcome.printed:
        for line in text.partition("/ mei to it")[2].splitlines():
            if (
                name := line[:30].strip()
            ) in TIMED:  # last score, seconds to it, / lucent 512, / lucent to it, / mei to it
                found.setdefault(name, []).append([float(word) for word in line[30:].split()])
    rows = []
    for name, label in TIMED.items():
        seconds, lucent, mei = (statistics.median(draw[i] for draw in found[name]) for i in (1, 3, 4))
        draws = found[name]
        first = "1" if name == "lucent" else f"{lucent:.3f} ({', '.join(f'{draw[3]:.3f}' for draw in draws)})"
        second = f"{mei:.2f} ({', '.join(f'{draw[4]:.2f}' for draw in draws)})"
        if name in ("lucent", "mei's loop, rewritten"):
            second = "" if name == "lucent" else "1"
        rows.append((label, f"{seconds:.1f}", first, second))
    return {"times": Table(("who", "CPU seconds", "/ lucent's", "/ mei's"), tuple(rows))}


def spectrum(outcome: Outcome) -> dict[str, Shown]:
    """Scores of spectrum_start on the ResNet."""
    columns = ("lucent's image", "decay 1.75 (default)", "1.4", "1")
    names = ("lucent's image", "decay 1.75 (default)", "decay 1.4", "decay 1")
    score: dict[tuple[str, str], str] = {}
    for line in outcome.printed[0].splitlines():
        for name in names:
            if match := re.match(rf"ResNet18 layer3\s+{re.escape(name)}\s+(shifted|no transforms)\s+([\d.]+)$", line):
                score[name, match[1]] = f"{float(match[2]):.1f}"
    rows = []
    for kind, label in (("no transforms", "no transforms"), ("shifted", "the default's shifts")):
        best = max(float(score[name, kind]) for name in names)
        rows.append(
            (label, *(f"**{score[n, kind]}**" if float(score[n, kind]) == best else score[n, kind] for n in names))
        )
    return {"scores": Table(("", *columns), tuple(rows))}


def control_of_sites(outcome: Outcome) -> dict[str, Shown]:
    """Table of evolution_rig from its report."""
    report = json.loads((outcome.folder / "evolution_rig.json").read_text(encoding="utf-8"))
    rows = []
    for site, t in report["targets"].items():
        last = t["curve"][-1]
        claimed = t["reference"] + last["its_score"] * t["natural_sd"]
        means = f"{t['curve'][0]['mean']:.2f} -> {last['mean']:.2f} spikes"
        rows.append((site, means, *(f"{v:.2f}" for v in (t["chosen"], t["natural_best"], claimed, last["named_best"]))))
    generations = len(next(iter(report["targets"].values()))["curve"])
    heads = ("site", f"expected response, mean of generation 1 -> {generations}", "image that enters the round",
             "best of 120 photographs", f"highest score of generation {generations} claims", "its truth")  # fmt: skip
    return {"sites": Table(heads, tuple(rows))}


def search(outcome: Outcome) -> dict[str, Shown]:
    """Shares of the best ten from the report of natural_search, from 200 photographs on."""
    report = json.loads((outcome.folder / "natural_search.json").read_text(encoding="utf-8"))
    names = {"climb": "climb", "permuted graph": "graph of permuted features", "random": "random"}
    keys = {key: next(k for k in report["shares"] if k.startswith(key.partition(" ")[0])) for key in names}
    rows = []
    for i, step in enumerate(report["steps"]):
        if step >= 200:
            cells = [report["shares"][keys[key]][i] for key in names]
            rows.append((f"{step:,}", *(f"{v:.2f} ({low:.2f}-{high:.2f})" for v, low, high in cells)))
    return {"climb": Table(("photographs looked at", *names.values()), tuple(rows))}


def tunings(outcome: Outcome) -> dict[str, Shown]:
    """What v4_fine_tuning prints; the table of rates comes from further runs and stays."""
    return printed_text("printed", begins="recording")(outcome)


def dropped(outcome: Outcome) -> dict[str, Shown]:
    """Shares of seed_dropping, without those of two plain seeds."""
    lines = [line for line in outcome.printed[-1].splitlines() if line.strip()]
    heads = [" ".join(found) for found in re.findall(r"(\d after \d+:|\d plain:) ([\d.]+)", lines[1])]
    told = [re.sub(r"^(\d) after 5:", r"\1 kept after 5:", head) for head in heads]
    told = [re.sub(r"^3 plain:", "3 plain seeds:", head) for head in told]
    kept = [i for i, head in enumerate(heads) if not head.startswith("2 plain")]
    rows = []
    for line in lines[2:]:
        label, shares = re.split(r"\s{2,}|(?<=noise)\s|(?<=photographs)\s", line, maxsplit=1)
        values = shares.split()
        start = label.replace("one_hot", "one-hot").replace(", ", ", from ")
        rows.append((start, *(values[i] for i in kept)))
    columns = ["", *(f"**{told[i]}**" if told[i].startswith("2 after 10") else told[i] for i in kept)]
    return {"shares": Table(tuple(columns), tuple(rows))}


def published(outcome: Outcome) -> dict[str, Shown]:
    """Scores of evolution_published in the later layer, then at the noise of the earlier one, beside the published numbers."""
    names = {"genetic": "genetic", "cma": "cma", "sphere": "spherical CMA-ES"}
    rows: dict[tuple[str, str], tuple[str, ...]] = {}
    for number, text in enumerate(outcome.printed):
        for noise, method, score, paper in re.findall(
            r"noise ([\d.]+): (\w+)\s+([\d.]+ \+- [\d.]+)\s+published (\S+)", text
        ):
            level = f"{float(noise):g}" + ", earlier layer" * (number == 1)
            rows[level, method] = (level, names[method], score, "" if paper == "None" else paper)
    order = [(level, method) for level in ("0.2", "0.5, earlier layer", "0") for method in names]
    return {"scores": Table(("noise", "", "here", "published"), tuple(rows[key] for key in order))}


BENCHED = {
    "alex_px": "AlexNet conv5, 224 px, pixels",
    "alex_full": "AlexNet conv5, 224 px, full",
    "lite0_px": "EfficientNet-Lite0, 112 px, pixels",
    "lite0_full": "EfficientNet-Lite0, 112 px, full",
    "res18_px": "ResNet18 layer3, 112 px, pixels",
    "res18_full": "ResNet18 layer3, 112 px, full",
    "ridge": "ridge (1000 images, 9216 features, 200 sites, 5 folds, 11 penalties) / one float32 Gram product",
    "himalaya": "the same / himalaya 0.4.11, torch backend",
    "factorised": "factorised readout / neuralpredictors 0.3.0",
    "guided": "`guided`, encoder at 64 px",
    "guided_fast": "`guided_fast`, encoder at 64 px",
    "guided_112": "`guided`, encoder at 112 px",
    "fast_112": "`guided_fast`, encoder at 112 px",
}
"""Rows of scripts/bench.py as the pages name them."""


def benched(record: str, table: str, *, joined: str = "") -> Reader:
    """Ratios and ranges of bench.py in a table whose other columns stay; `joined` names the one column that holds both."""

    def read(outcome: Outcome) -> dict[str, Shown]:
        found = {}
        for name, ratio, low, high in re.findall(
            r"^(\w+) +([\d.]+) +([\d.]+) - ([\d.]+) ", outcome.printed[0], re.MULTILINE
        ):
            if name in BENCHED:
                found[BENCHED[name]] = ratio, f"{low} - {high}"
        old = records()[record].tables[table]
        assert isinstance(old, Table)
        rows = []
        for row in old.rows:
            ratio, span = found[row[0]]
            if joined:
                at = old.columns.index(joined)
                rows.append((*row[:at], f"{ratio} ({span})", *row[at + 1 :]))
            else:
                rows.append((row[0], ratio, span, *row[3:]))
        return {table: Table(old.columns, tuple(rows), old.align)}

    return read


def spoken(name: str, lines: int) -> Reader:
    """The first lines that the last command says."""

    def read(outcome: Outcome) -> dict[str, Shown]:
        return {name: Printed(tuple(outcome.printed[-1].splitlines()[:lines]))}

    return read


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table of comma-separated values."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def simplest(outcome: Outcome) -> dict[str, Shown]:
    """What is left of controllers, from simple.csv."""
    found = rows_of(outcome.folder / "simple/simple.csv")
    rows = [
        (
            row["controller"].replace(":", ", "),
            f"{100 * float(row['area']):.0f} %",
            f"{int(row['waves']):,}",
            row["grey_levels"],
            f"{int(row['png_bytes']):,} of {int(row['png_bytes_before']):,}",
            f"{float(row['held']):.2f}",
            f"{float(row['validator_held']):.2f}",
        )
        for row in found
    ]
    heads = (
        "controller",
        "area",
        f"waves of {int(found[0]['waves_before']):,}",
        "grey levels",
        "PNG, bytes",
        "held by the encoder",
        "by the validator",
    )
    order = sorted(rows, key=lambda row: row[0].partition(",")[0] != "stretch")
    return {"controllers": Table(heads, tuple(order))}


def tails(outcome: Outcome) -> dict[str, Shown]:
    """Scores of both tails by encoder and validator, from images.csv."""
    scores: dict[str, dict[str, str]] = {}
    for row in rows_of(outcome.folder / "tails/images.csv"):
        scores.setdefault(row["target"], {})[row["kind"]] = (
            f"{float(row['score']):.2f}, {float(row['validator_score']):.2f}"
        )
    rows = tuple((site, kinds["suppress"], kinds["stretch"]) for site, kinds in scores.items())
    return {"scores": Table(("site", "suppress: score, validator", "stretch: score, validator"), rows)}


def differences(old: Shown, new: Shown, *, relative: float, absolute: float) -> list[str]:
    """Where two tables differ in words, or in a number by more than `absolute` plus `relative` of the old one."""
    if isinstance(old, Table) and isinstance(new, Table):
        if old.columns != new.columns:
            return [f"columns {old.columns} became {new.columns}"]
        a, b = old.rows, new.rows
    else:
        a, b = (tuple((line,) for line in x.text().splitlines()) for x in (old, new))
    if len(a) != len(b):
        return [f"{len(a)} rows became {len(b)}"]
    found = []
    for before, after in zip(a, b, strict=True):
        for was, is_ in zip(before, after, strict=True):
            first, second = numbers(was), numbers(is_)
            words = [re.sub(r"[-+]?[\d.,]+", "#", re.sub(r"\*\*", "", x)) for x in (was, is_)]
            near = len(first) == len(second) and all(
                abs(x - y) <= absolute + relative * abs(x) for x, y in zip(first, second, strict=True)
            )
            if words[0] != words[1] or not near:
                found.append(f"{before[0]}: {was!r} became {is_!r}")
    return found
