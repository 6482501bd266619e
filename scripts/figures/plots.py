"""Plots of the records: the palette of Okabe and Ito (2008), intervals as they were measured, one file per function."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .records import Record
from .tables import Printed, Table, estimate

BLACK, ORANGE, SKY, GREEN, BLUE, RED, PINK = "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "stimsynth",
}
Records = Mapping[str, Record]


def _table(records: Records, record: str, name: str) -> Table:
    table = records[record].tables[name]
    assert isinstance(table, Table)
    return table


def _lines(records: Records, record: str, name: str) -> tuple[str, ...]:
    printed = records[record].tables[name]
    assert isinstance(printed, Printed)
    return printed.lines


def drawing(width: float, height: float, columns: int = 1, **words: Any) -> tuple[Any, Any]:
    """A figure of `width` x `height` inches and its axes, in the style of these plots."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update(dict[Any, Any](STYLE))
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, squeeze=False, **words)[0]


def save(figure: Any, path: Path) -> None:
    """Write a PNG without dates or versions."""
    figure.savefig(path, dpi=120, metadata={"Software": None})


def points(
    axis: Any,
    cells: Sequence[str],
    at: Any,
    *,
    colour: str,
    label: str = "",
    marker: str = "o",
    across: bool = True,
) -> None:
    """Cells with their intervals as dots with bars: values on the x axis where `across`, else on the y axis."""
    values = np.array([estimate(cell) for cell in cells])
    errors = np.abs(values[:, 1:].T - values[:, 0])
    x, y = (values[:, 0], at) if across else (at, values[:, 0])
    bars = {"xerr" if across else "yerr": errors}
    axis.errorbar(x, y, **bars, fmt=marker, color=colour, label=label or None, capsize=2, markersize=4, linewidth=1)


def names(axis: Any, labels: Sequence[str]) -> None:
    """Labels down the y axis, the first on top."""
    axis.set_yticks(range(len(labels)), [label.replace("**", "") for label in labels])
    axis.set_ylim(len(labels) - 0.4, -0.6)
    axis.grid(axis="x", color="0.9", linewidth=0.6)


def predicted(records: Records, path: Path) -> None:
    """Readouts of recording 210325; few images."""
    figure, (left, right) = drawing(8.6, 3.4, 2, width_ratios=[1.25, 1])
    rows, found = [], re.compile(r"^(.+?)\s{2,}([\d.]+)\s+([\d.]+)\s+([\d.]+ - [\d.]+)\s")
    for line in _lines(records, "readouts", "printed")[2:]:
        if match := found.match(line):
            rows.append((match[1], f"{match[3]} ({match[4]})"))
        if line.startswith("chosen "):
            break
    points(left, [cell for _, cell in rows], range(len(rows)), colour=BLUE)
    left.axvline(estimate(rows[0][1])[0], color="0.6", linestyle=":", linewidth=1)
    names(left, [name for name, _ in rows])
    left.set(xlabel="r, corrected for noise: median of 50 sites, 95 %", title="Recording 210325, images never fitted")
    lines = [line.split() for line in _lines(records, "few_shot", "same_day")[1:] if line.startswith("210325")]
    for method, colour, marker in (("ridge", ORANGE, "s"), ("population", SKY, "^"), ("few-shot", BLUE, "o")):
        chosen = [line for line in lines if line[3] == method]
        right.plot(
            [int(line[2]) for line in chosen],
            [float(line[4]) for line in chosen],
            marker + "-",
            color=colour,
            label=method,
            markersize=4,
        )
    right.set(
        xlabel="images that a new site was recorded with",
        ylabel="r, corrected for noise: median",
        xscale="log",
        title="The same recording, each site new once",
    )
    right.set_xticks([30, 100, 300], ["30", "100", "300"])
    right.minorticks_off()
    right.legend(loc="lower right")
    save(figure, path)


def controlled(records: Records, path: Path) -> None:
    """Arms of three draws on two recordings."""
    figure, (left, right) = drawing(9.4, 3.3, 2, sharey=True)
    for i, (session, colour, marker) in enumerate((("210225", BLUE, "o"), ("201025", RED, "s"))):
        table = _table(records, "control_draws", session)
        at = np.arange(len(table.rows)) + (i - 0.5) * 0.3
        draws = [[float(v) for v in row[1].split(",")] for row in table.rows]
        middle = [f"{np.mean(d)} ({min(d)}-{max(d)})" for d in draws]
        points(left, middle, at, colour=colour, marker=marker, label=f"models of {session}")
        points(right, [row[4] for row in table.rows], at, colour=colour, marker=marker)
    left.axvline(1, color="0.4", linestyle="--", linewidth=1)
    right.axvline(0, color="0.4", linestyle="--", linewidth=1)
    names(left, [_short(row[0]) for row in _table(records, "control_draws", "210225").rows])
    right.grid(axis="x", color="0.9", linewidth=0.6)
    left.set(xlabel="median true response / M (bars: the three draws)", title="stretch")
    right.set(xlabel="mean true margin, natural SDs (95 % over sites)", title="one-hot")
    right.legend(*left.get_legend_handles_labels(), loc="upper right")
    save(figure, path)


def _short(arm: str) -> str:
    return (
        arm.replace("**", "")
        .replace(" by a project,", ",")
        .replace("begun with the networks of other recordings", "from networks of other days")
    )


def rounds(records: Records, path: Path) -> None:
    """Rounds with and without a refit, and photographs alone."""
    figure, axes = drawing(8.6, 2.9, 2)
    for axis, name, label in zip(
        axes, ("stretch", "one_hot"), ("true response / M, median", "true margin, median (natural SD)"), strict=True
    ):
        table = _table(records, "rounds", name)
        for run, colour, marker, shift in (
            ("refit", BLUE, "o", 0.0),
            ("no refit", ORANGE, "s", 0.08),
            ("natural", GREEN, "^", -0.08),
        ):
            rows = [row for row in table.rows if row[0] == run]
            if run == "no refit":
                rows = [next(row for row in table.rows if row[:2] == ("refit", "1")), *rows]
            said = {
                "refit": "refit after each round",
                "no refit": "no refit",
                "natural": "as many trials on photographs, one round",
            }[run]
            points(
                axis,
                [row[2] for row in rows],
                [int(row[1]) + shift for row in rows],
                colour=colour,
                marker=marker,
                label=said,
                across=False,
            )
            axis.plot(
                [int(row[1]) + shift for row in rows], [estimate(row[2])[0] for row in rows], color=colour, linewidth=1
            )
        axis.set(xlabel="round", ylabel=label, title=name.replace("_", "-"))
        axis.set_xticks([1, 2, 3])
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save(figure, path)


def trusted(records: Records, path: Path) -> None:
    """False verdicts and claims at the boundary null, over what is promised."""
    figure, (left, right) = drawing(9.4, 4.4, 2)
    rows: list[tuple[str, str, bool]] = []
    for question, score, found, interval, _, holds in _table(records, "calibration", "questions").rows:
        if question.startswith(("false verdict", "false claim")) and holds:
            rows.append(
                (f"{_score(score)}, {question.partition(', ')[2]}", f"{found} ({interval})", "claim" in question)
            )
    for question, rates, found, interval, _, holds in _table(records, "suppress", "questions").rows:
        if question.startswith(("false verdict", "false claim")) and holds:
            about = question.partition(", ")[2].partition(" (")[0]
            rows.append((f"suppress, {rates}, {about}", f"{found} ({interval})", "claim" in question))
    for design, question, found, interval, _, holds in _table(records, "interim", "null").rows:
        if "false" in question and holds:
            rows.append(
                (f"{_score(question.partition(':')[0])}, {design}", f"{found} ({interval})", "claim" in question)
            )
    for axis, claim, level, title in (
        (left, False, 1.0, "false verdicts, % of sites"),
        (right, True, 5.0, "false claims, % of rounds"),
    ):
        chosen = [(name, cell) for name, cell, of_round in rows if of_round is claim]
        points(axis, [cell for _, cell in chosen], range(len(chosen)), colour=BLUE)
        axis.axvline(level, color=RED, linestyle="--", linewidth=1)
        names(axis, [name for name, _ in chosen])
        axis.tick_params(axis="y", labelsize=7)
        axis.set(xlabel="found (99 % interval); dashed: promised", title=title, xlim=(0, None))
    save(figure, path)


def _score(name: str) -> str:
    return name.replace("one_hot", "one-hot")


def found_controls(records: Records, path: Path) -> None:
    """What +30 % and interim looks find."""
    figure, (left, right) = drawing(8.6, 2.4, 2, width_ratios=[1.1, 1])
    rows = [row for row in _table(records, "calibration", "questions").rows if row[0].startswith("+30 %")]
    points(
        left, [f"{row[2]} ({row[3]})" for row in rows], range(len(rows)), colour=BLUE, label="simulated verdicts, 99 %"
    )
    told = [float(m[1]) for row in rows if (m := re.search(r"planner: ([\d.]+)", row[4]))]
    left.plot(told, range(len(rows)), "|", color=RED, markersize=12, label="told by the planner")
    names(left, [f"{_score(row[1])}, {row[0].partition(', ')[2]}" for row in rows])
    left.set(xlabel="% of sites at which +30 % is found")
    left.legend(loc="lower right", fontsize=7)
    table = _table(records, "interim", "control")
    labels = []
    for i, design in enumerate(("one look", "two looks")):
        for j, (question, colour) in enumerate((("without", ORANGE), ("with looks", BLUE))):
            row = next(r for r in table.rows if r[0] == design and r[1].endswith(question) and "found" in r[1])
            points(right, [f"{row[2]} ({row[3]})"], [2 * i + j], colour=colour, marker="so"[j])
            labels.append(f"{design}: {question}")
    names(right, labels)
    right.set(xlabel="% of true controls found, 95 %")
    save(figure, path)


def costs(records: Records, path: Path) -> None:
    """Costs of a step and of quality, beside others."""
    figure, (left, right) = drawing(9.4, 3.1, 2)
    steps = _table(records, "speed", "steps").rows
    points(left, [f"{row[1]} ({row[2]})" for row in steps], range(len(steps)), colour=BLUE, label="this loop")
    left.plot(
        [estimate(row[4])[0] for row in steps],
        range(len(steps)),
        "|",
        color=RED,
        markersize=12,
        label="limit that was set",
    )
    left.axvline(1, color="0.4", linestyle="--", linewidth=1)
    names(left, [row[0] for row in steps])
    left.set(xlabel="steps / bare forward and backward passes", xlim=(0.4, None))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2)
    rows = _table(records, "quality", "times").rows
    right.barh(range(len(rows)), [estimate(row[1])[0] for row in rows], color=[ORANGE, SKY, BLUE, BLUE, BLUE])
    for i, row in enumerate(rows):
        right.text(estimate(row[1])[0] * 1.12, i, row[1], va="center", fontsize=8)
    names(right, [re.sub(r"[`*]", "", row[0]) for row in rows])
    right.set(xlabel="CPU seconds (log)", xscale="log", xlim=(0.8, 200))
    save(figure, path)


def search_climb(records: Records, path: Path) -> None:
    """Share of the true best ten against photographs looked at."""
    figure, (axis,) = drawing(5.2, 3.4)
    table = _table(records, "natural_search", "climb")
    looked = [int(row[0].replace(",", "")) for row in table.rows]
    for column, colour in ((1, BLUE), (2, "0.5"), (3, RED)):
        values = np.array([estimate(row[column]) for row in table.rows])
        axis.plot(looked, values[:, 0], "o-", color=colour, label=table.columns[column], markersize=4)
        axis.fill_between(looked, values[:, 1], values[:, 2], color=colour, alpha=0.2, linewidth=0)
    axis.set(xscale="log", xlabel="photographs looked at", ylabel="share of the true best ten", ylim=(0, 1.02))
    axis.set_xticks(looked, table.column(0))
    axis.minorticks_off()
    axis.legend(loc="upper left")
    save(figure, path)


def memory(records: Records, path: Path) -> None:
    """Tables that a step holds beside the one it is given, before and now."""
    figure, (axis,) = drawing(6.2, 2.4)
    table = _table(records, "memory", "tables")
    at = np.arange(len(table.rows))
    bars = ("before", "before", ORANGE, -0.18), ("tables, at most", "now, at most", BLUE, 0.18)
    for column, label, colour, shift in bars:
        values = [float(cell) for cell in table.column(table.columns.index(column))]
        axis.barh(at + shift, values, 0.36, color=colour, label=label)
    names(axis, table.column(0))
    axis.set(xlabel="tables of 8 T U bytes at once, beside the one given")
    axis.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    save(figure, path)


def synthesised(records: Records, path: Path) -> None:
    """Real responses to synthesised images: median r of every encoder."""
    figure, (axis,) = drawing(7.2, 2.9)
    rows = _table(records, "synthesised", "encoders").rows
    for column, colour, marker, shift, label in (
        (1, BLUE, "o", 0.0, "synthesised images"),
        (4, ORANGE, "s", 0.25, "left-out photographs"),
    ):
        chosen = [(i, cell) for i, row in enumerate(rows) if re.match(r"\**\d", cell := row[column].replace("**", ""))]
        points(
            axis,
            [re.sub(r" / [\d.]+", "", cell) for _, cell in chosen],
            [i + shift for i, _ in chosen],
            colour=colour,
            marker=marker,
            label=label,
        )
    names(axis, [re.sub(r"[`*]", "", row[0]) for row in rows])
    axis.tick_params(axis="y", labelsize=7)
    axis.set(xlabel="r over images, median of 35 sites (bars: 95 %)")
    axis.legend(loc="lower left")
    save(figure, path)


PLOTS = {
    "measured_predicted.png": (predicted, ("readouts", "few_shot")),
    "measured_synthesised.png": (synthesised, ("synthesised",)),
    "measured_controlled.png": (controlled, ("control_draws",)),
    "measured_rounds.png": (rounds, ("rounds",)),
    "measured_trusted.png": (trusted, ("calibration", "suppress", "interim")),
    "measured_found.png": (found_controls, ("calibration", "interim")),
    "measured_costs.png": (costs, ("speed", "quality")),
    "measured_memory.png": (memory, ("memory",)),
    "search_climb.png": (search_climb, ("natural_search",)),
}
"""Files of docs that are drawn from records, and from which."""
