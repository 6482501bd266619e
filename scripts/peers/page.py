"""Tables and picture of docs/peers.md and docs/reproduction.md from docs/measured: `python scripts/peers/page.py --write`."""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
MEASURED, PAGE, PICTURE = (ROOT / "docs" / name for name in ("measured/peers.json", "peers.md", "peers.png"))
RECIPES, REPRODUCTION = (ROOT / "docs" / name for name in ("measured/recipes.json", "reproduction.md"))
BEGIN, END = (
    "<!-- made by `python scripts/peers/page.py --write` from docs/measured -->",
    "<!-- end of what is made -->",
)
TITLES = {
    "speed": "Time per gradient step",
    "quality": "Time to quality",
    "control": "True control at equal steps",
    "verdicts": "Found control at equal presentations",
    "ridge": "Ridge",
    "readout": "Readouts trained by gradients",
    "evolution": "Evolution at equal presentations, with noise",
    "memory": "Peak memory",
}
COLOURS = {"ahead": "#0072B2", "even": "#777777", "behind": "#D55E00"}  # Okabe & Ito 2008
MARKERS = {"ahead": "o", "even": "s", "behind": "^"}
SHORTEST, LONGEST = 1 / 200, 5.0  # of the axis

BRACKETS = r" \((?:[^()]|\([^()]*\))*\)"
Record = Mapping[str, Any]


def rows_of(measured: Record) -> dict[str, list[Record]]:
    """The rows by title, in the order of the page; `control` holds those of two titles."""
    every = [row for group in measured.values() for row in group["rows"]]
    return {group: found for group in TITLES if (found := [r for r in every if r["group"] == group])}


def number(value: float, kind: str = "ratio") -> str:
    """Two decimals, three below 0.1, with a sign for differences."""
    if kind == "difference":
        return f"{value:+.3f}" if abs(value) < 0.1 else f"{value:+.2f}"
    return f"{value:.3f}" if 0 < abs(value) < 0.1 else f"{value:.2f}"


def ends(row: Record) -> str:
    """The interval; an end that is open is said in words."""
    low, high = row["low"], row["high"]
    kind = row["kind"]
    if row["bound"] and not low and not high:
        return "never reached"
    if low is None:
        return f"up to {number(high, kind)}"
    if high is None:
        return f"from {number(low, kind)}"
    return f"{number(low, kind)} to {number(high, kind)}"


def shared(rows: Sequence[Record]) -> list[str]:
    """What stands in brackets in every row: it is said once."""
    found = [dict.fromkeys(m[0] for m in re.finditer(BRACKETS, row["what"])) for row in rows]
    return [part for part in found[0] if len(rows) > 1 and all(part in other for other in found)]


def cells(row: Record, said: Sequence[str] = ()) -> str:
    """One line of the table, without what was `said` above it."""
    bound = {"": "", "at least": "> ", "at most": "< "}[row["bound"]]
    sides = f"{quantity(row['ours'])} / {quantity(row['theirs'])} {row['unit']}"
    what = row["what"] + (f". {row['note'][0].upper()}{row['note'][1:]}" if row["note"] else "")
    for part in said:
        what = what.replace(part, "")
    value = f"{bound}{number(row['value'], row['kind'])}"
    value = f"**{value}**" if row["outcome"] == "behind" else value
    return f"| {row['peer']} | {what} | {value} | {ends(row)} | {sides} | {row['better']} | {row['outcome']} |"


def quantity(value: float) -> str:
    """Three significant figures."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def made(measured: Record) -> str:
    """What stands between the marks: counts, what was run with, tables, what was not run."""
    every = [row for group in measured.values() for row in group["rows"]]
    counts = {outcome: sum(r["outcome"] == outcome for r in every) for outcome in COLOURS}
    lines = [
        f"{len(every)} comparisons: ahead in {counts['ahead']}, even in {counts['even']} (the interval holds equality), "
        f"behind in {counts['behind']}. CPU time of the run: {sum(g['cpu_seconds'] for g in measured.values()) / 60:.1f} minutes, "
        "children that measure memory not counted.",
        "",
        *versions(measured, every),
    ]
    for group, rows in rows_of(measured).items():
        lines += ["", f"### {TITLES[group]}", ""]
        if subjects := sorted(
            {g["subject"] for g in measured.values() if g["subject"] and any(r in g["rows"] for r in rows)}
        ):
            lines += [f"Hidden subject: {'; '.join(subjects)}.", ""]
        said = shared(rows)
        lines += [
            "".join(f"Work: {part[2:-1]}. " for part in said)
            + f"Interval: {'; '.join(sorted({r['interval'] for r in rows}))}.",
            "",
        ]
        lines += [
            "| peer | what | ours / peer's | interval | ours / peer's, as measured | better | |",
            "|---|---|---|---|---|---|---|",
        ]
        lines += [cells(row, said) for row in rows]
    lines += ["", "### Not run", ""]
    absent = [n for g in measured.values() for n in g["not_run"]]
    lines += [f"- {n['peer']} ({n['group']}): {n['why']}" for n in absent] or ["Every peer of the list was run."]
    return "\n".join(lines)


def versions(measured: Record, every: Sequence[Record]) -> list[str]:
    """What the numbers were measured with."""
    peers = sorted({f"{r['peer']} {r['version']}" for r in every if r["version"][0].isdigit()})
    anew = sorted({r["peer"] for r in every if not r["version"][0].isdigit()})
    base = next(iter(measured.values()))
    own = ", ".join(f"{name} {version}" for name, version in base["versions"].items())
    return [
        f"Versions: {', '.join(peers)}; {own}; {base['dtype']}, {base['threads']} thread. Written anew: {', '.join(anew)}."
    ]


def page_with(text: str, part: str) -> str:
    """The page with what stands between the marks put in."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    if not found:
        raise ValueError(f"no line {BEGIN!r} with {END!r} after it")
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{after}"


def digest() -> str:
    """SHA-256 of the measured numbers, kept in the picture."""
    return hashlib.sha256(MEASURED.read_bytes()).hexdigest()


def label(row: Record) -> str:
    """A short line for the picture."""
    text = re.sub(BRACKETS, "", row["what"])
    for long, short in (
        ("true response of the hidden sites", "true response"),
        ("CPU seconds to the score that the peer's own", "time to the score of the peer's"),
        ("CPU seconds to the score that our", "time to the score of our"), (" steps reach,", " steps,"),
        ("; its standard transforms, our shifts, scales and rotations", ", shifts, scales, rotations"), (", shifts of up to 8 px", ", shifts"),
        ("pixels, blurred gradient, AdamW, mean and contrast fixed in every step", "pixels, contrast fixed in every step"),
        ("true margin over the strongest other site", "true margin"), ("the peer after its own", "peer after its"),
        (" from the best photograph", " from a photograph"), (", the same module and work as in the time per step", ", same module"),
        ("; ours on its own backbone", "; ours on its backbone"), (", mean over sites", ""), ("ridge, 960 images, 89 sites, 9 penalties, 5 folds", "ridge"),
        (" of Adam of 100 images, 89 sites", ""), (" and every site's gain grew since the baseline day", " gains grew"), ("; KernelRidgeCV, torch backend, the same folds", ""),
        ("; RidgeCV, penalties per site by leave-one-out", ""), (" per site, 6 sites; as in the released script, 20 per generation", "; released settings"),
        (" per site, 6 sites; as tuned by Wang & Ponce 2022, 40 per generation", "; tuned settings"), (", 1000 images, 9216 features, 200 sites, float32", ""),
    ):  # fmt: skip
        text = text.replace(long, short)
    return f"{row['peer'].replace('genetic algorithm', 'GA')}: {text}"


def draw(measured: Record, path: Path) -> None:
    """Ratios on a log axis beside 1, differences beside 0, each with its interval; ahead, even and behind by colour and mark."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    every = [row for rows in rows_of(measured).values() for row in rows]
    panels = {
        "ratio ours / peer's, less is better": [r for r in every if r["kind"] == "ratio" and r["better"] == "less"],
        "ratio ours / peer's, more is better": [r for r in every if r["kind"] == "ratio" and r["better"] == "more"],
    }
    for unit in dict.fromkeys(r["unit"] for r in every if r["kind"] == "difference"):
        panels[f"ours less peer's [{unit}], more is better"] = [
            r for r in every if r["kind"] == "difference" and r["unit"] == unit
        ]
    shown = {title: rows for title, rows in panels.items() if rows}
    heights = [len(rows) + 1.5 for rows in shown.values()]
    drawing, axes = plt.subplots(
        len(shown),
        1,
        figsize=(9, 0.19 * sum(heights) + 1.2),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axis, (title, rows) in zip(axes[:, 0], shown.items(), strict=True):
        panel(axis, rows)
        axis.set_title(title, fontsize=7.5, loc="left")
    marks = [
        Line2D([], [], linestyle="", marker=MARKERS[o], color=c, markersize=4, label=f"stimsynth {o}")
        for o, c in COLOURS.items()
    ]
    marks.append(
        Line2D(
            [], [], linestyle="", marker="$\\leftarrow$", color="black", markersize=7, label="the peer never reaches it"
        )
    )
    drawing.legend(handles=marks, loc="outside upper center", ncols=4, fontsize=7, frameon=False)
    drawing.savefig(path, dpi=120, metadata={"Measured": digest(), "Software": None})
    plt.close(drawing)


def panel(axis: Any, rows: Sequence[Record]) -> None:
    """One row of the picture per comparison, the first on top."""
    ratio = rows[0]["kind"] == "ratio"
    shortest, longest = (SHORTEST, LONGEST) if ratio else (-np.inf, np.inf)
    for y, row in enumerate(rows):
        colour = COLOURS[row["outcome"]]
        value = min(max(row["value"], shortest), longest)
        low, high = (
            default if end is None else min(max(end, shortest), longest)
            for end, default in ((row["low"], shortest), (row["high"], longest))
        )
        if row["bound"]:  # an arrow to the side on which the ratio would lie
            low, high = value, value
            axis.annotate(
                "",
                (value * (0.55 if row["bound"] == "at most" else 1.8), y),
                (value, y),
                arrowprops={"arrowstyle": "->", "color": colour},
            )
        axis.plot([low, high], [y, y], color=colour, linewidth=1.4)
        axis.plot([value], [y], MARKERS[row["outcome"]], color=colour, markersize=4)
    axis.axvline(1.0 if ratio else 0.0, color="black", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [label(row) for row in rows], fontsize=6)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    if ratio:
        axis.set_xscale("log")
        axis.set_xlim(SHORTEST * 0.9, LONGEST * 1.1)
        ticks = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
        axis.set_xticks(ticks, [f"{t:g}" for t in ticks])
        axis.minorticks_off()
    axis.tick_params(axis="x", labelsize=6.5)
    axis.grid(axis="x", color="0.9", linewidth=0.5)
    axis.set_axisbelow(True)


def recipe_table(record: Record) -> str:
    """The recipes of seed papers, one line each."""
    lines = [
        f"Hidden subject: {record['subject']}. Scores in natural SDs; 95 % intervals, bootstrap over sites.",
        "",
        "| recipe | encoder | validator | validator / encoder | true response / M | above M | less the best photograph's | less the EGG paper's ascent | CPU s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in record["recipes"].items():
        kept, means = row["kept_by_validator"], row["means"]
        gaps = " | ".join(gap(row[f"truth_less_{other}"]) for other in ("photograph", "baseline"))
        lines.append(
            f"| {name} | {means['encoder']:.2f} | {means['validator']:.2f} | {kept['value']:.2f} [{kept['low']:.2f}, {kept['high']:.2f}] "
            f"| {means['truth']:.2f} | {row['above_m']} of {record['targets']} | {gaps} | {row['cpu_seconds']:.0f} |"
        )
    return "\n".join(lines)


def gap(found: Record) -> str:
    """A difference with its interval; nothing for what is compared with itself."""
    if found["low"] == found["high"] == 0:
        return ""
    return f"{found['value']:+.2f} [{found['low']:+.2f}, {found['high']:+.2f}]"


def parts() -> dict[Path, str]:
    """What is made for each page."""
    measured, recipes = (json.loads(path.read_text(encoding="utf-8")) for path in (MEASURED, RECIPES))
    return {PAGE: made(measured), REPRODUCTION: recipe_table(recipes)}


def write() -> None:
    """Pages and picture anew."""
    for path, part in parts().items():
        path.write_text(page_with(path.read_text(encoding="utf-8"), part), encoding="utf-8")
    draw(json.loads(MEASURED.read_text(encoding="utf-8")), PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write pages and picture; else print the tables")
    if parser.parse_args().write:
        write()
    else:
        print("\n\n".join(parts().values()))


if __name__ == "__main__":
    main()
