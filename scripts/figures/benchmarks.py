"""From the reports of the benchmarks on models of V4 sites to the tables of their records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from protocols.stats.intervals import wilson_interval

from .readers import Outcome
from .tables import Shown, Table


def rounds(outcome: Outcome) -> dict[str, Shown]:
    """Tables of v4_rounds from its report."""
    report = json.loads((outcome.folder / "v4_rounds.json").read_text(encoding="utf-8"))
    table = {(e["objective"], e["run"], e["round"]): e for e in report["table"]}
    order = [("refit", 1), ("refit", 2), ("refit", 3), ("no_refit", 2), ("no_refit", 3), ("natural", 1)]

    def rows(objective: str, *cells: Callable[[Any], str]) -> tuple[tuple[str, ...], ...]:
        return tuple(
            (run.replace("_", " "), str(number), *(cell(table[objective, run, number]) for cell in cells))
            for run, number in order
        )

    stretch = rows(
        "stretch", _value("relative_to_m"), _share("above_m", interval=False), _share("above_natural_maximum")
    )
    one_hot = rows("one_hot", _value("margin"), _share("beats_natural_margin"), _value("share"))
    heads = {"stretch": ("true response / M, median", "above M", "above every natural image"),
             "one_hot": ("true margin, median (natural SD)", "above the best natural image's", "true softmax share, median")}  # fmt: skip
    measures = {("stretch", "relative_to_m"): "stretch, true response / M",
                ("stretch", "above_natural_maximum"): "stretch, share above every natural image",
                ("one_hot", "margin"): "one-hot, true margin",
                ("one_hot", "beats_natural_margin"): "one-hot, share above the best natural margin"}  # fmt: skip
    changes: dict[str, dict[tuple[str, str], str]] = {}
    for line in report["changes"]:
        text = f"{line['value']:+.3f} [{line['low']:+.3f}, {line['high']:+.3f}]"
        changes.setdefault(line["comparison"], {})[line["objective"], line["measure"]] = text
    pairs = max(line["pairs"] for line in report["changes"])
    return {
        "stretch": Table(("stretch", "round", *heads["stretch"]), stretch),
        "one_hot": Table(("one-hot", "round", *heads["one_hot"]), one_hot),
        "changes": Table(
            (f"mean paired change at the same sites, {pairs} pairs", *measures.values()),
            tuple((label, *(cells[key] for key in measures)) for label, cells in changes.items()),
        ),
    }


def _value(name: str) -> Callable[[Any], str]:
    return lambda entry: f"{entry[name]['value']:.2f} ({entry[name]['low']:.2f}-{entry[name]['high']:.2f})"


def _share(name: str, *, interval: bool = True) -> Callable[[Any], str]:
    def cell(entry: Any) -> str:
        found = entry[name]
        return f"{100 * found['share']:.0f} %" + f" ({100 * found['low']:.0f}-{100 * found['high']:.0f})" * interval

    return cell


DRAWN = {
    "photographs": "best measured photograph",
    "1/f baseline": "1/f Fourier, one readout, noise start",
    "Bashivan 2019": "Bashivan 2019's recipe, one readout",
    "one readout": "default, but one readout",
    "default": "**default**",
    "default final": "default, final fit",
    "by a project final": "**two networks tuned by a project, final fit**",
    "other days final": "**the same, begun with the networks of other recordings**",
}
"""Arms of v4_control_draws as the page names them, in its order."""


def control_draws(outcome: Outcome) -> dict[str, Shown]:
    """Arms pooled over draws, one table per recording, from the JSON that v4_control_draws prints last."""
    found = json.loads(outcome.printed[-1])
    heads = ("stretch: median true response / M, by draw", "mean change from the default", "above M",
             "one-hot: mean true margin", "mean change", "above the best natural image's", "by draw")  # fmt: skip
    tables: dict[str, Shown] = {}
    for session, entries in found.items():
        at = {(entry["arm"], entry["objective"]): entry for entry in entries}
        rows = []
        for arm, label in DRAWN.items():
            if (arm, "stretch") in at:
                stretch, one_hot = at[arm, "stretch"], at[arm, "one_hot"]
                change = [_triple(e["change"], "+") if arm != "default" else "" for e in (stretch, one_hot)]
                rows.append((
                    label,
                    ", ".join(f"{v:.2f}" for v in stretch["medians"]),
                    change[0],
                    f"{100 * stretch['share'][0]:.0f} %",
                    _triple(one_hot["mean"]),
                    change[1],
                    f"{100 * one_hot['share'][0]:.0f} % [{100 * one_hot['share'][1]:.0f}, {100 * one_hot['share'][2]:.0f}]",
                    ", ".join(f"{100 * v:.0f}" for v in one_hot["shares"]),
                ))  # fmt: skip
        tables[session] = Table((session, *heads), tuple(rows))
    return tables


def _triple(values: Sequence[float], sign: str = "") -> str:
    return (
        f"{values[0]:{sign}.2f} [{values[1]:.2f}, {values[2]:.2f}]"
        if not sign
        else f"{values[0]:+.2f} [{values[1]:+.2f}, {values[2]:+.2f}]"
    )


RUNS = {"210225, seed 0": "V4_210225_0", "210225, seed 1": "V4_210225_1", "201025, seed 0": "V4_201025_0"}
"""Runs of v4_benchmark with a default project, by the head of their column, each with its folder."""
ON_LIST = "verdict *control*, or on the Benjamini-Hochberg list (q 0.05)"


def defaults(outcome: Outcome) -> dict[str, Shown]:
    """Verdicts of default projects beside the truth, a column per run and one for all, from the reports of v4_benchmark."""
    columns = []
    for folder in RUNS.values():
        (session,) = json.loads((outcome.folder / folder / "v4_benchmark.json").read_text(encoding="utf-8"))[
            "sessions"
        ].values()
        columns.append([row for row in session["rows"] if row["round"] == 1])
    return {
        "stretch": _verdicts(
            columns,
            "stretch",
            {"true: above M": "above_m", "true: above every natural image": "above_natural_maximum"},
            ("median true response / M", "relative_to_m"),
        ),
        "one_hot": _verdicts(
            columns,
            "one_hot",
            {"true: margin above the best natural image's": "beats_natural_margin"},
            ("median true margin, natural SD", "margin"),
        ),
    }


def _verdicts(
    columns: Sequence[Sequence[dict[str, Any]]], objective: str, true: dict[str, str], median: tuple[str, str]
) -> Table:
    parts = [[row for row in rows if row["objective"] == objective] for rows in columns]
    every = [row for rows in parts for row in rows]

    def counted(label: str, hit: Callable[[dict[str, Any]], bool]) -> tuple[str, ...]:
        hits = [sum(map(hit, rows)) for rows in parts]
        low, high = wilson_interval(sum(hits), len(every))
        whole = f"{sum(hits)} of {len(every)}, {100 * sum(hits) / len(every):.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
        return (label, *(f"{n} of {len(rows)}" for n, rows in zip(hits, parts, strict=True)), whole)

    values = np.array([row[median[1]] for row in every])
    draws = np.random.default_rng(0).integers(0, len(values), (10_000, len(values)))
    low, high = np.quantile(np.median(values[draws], axis=1), (0.025, 0.975))
    medians = [f"{np.median([row[median[1]] for row in rows]):.2f}" for rows in parts]
    listed = [[row for row in rows if _said(row)] for rows in parts]
    false = [sum(not row["beats_reference"] for row in rows) for rows in listed]
    lines = [
        *(counted(label, lambda row, name=name: bool(row[name])) for label, name in true.items()),  # type: ignore[misc]
        (median[0], *medians, f"{np.median(values):.2f} [{low:.2f}, {high:.2f}]"),
        counted("true: above the reference that was shown", lambda row: bool(row["beats_reference"])),
        counted("verdict *control* (p <= 0.01)", lambda row: row["verdict"] == "control"),
        counted(ON_LIST, _said),
        ("of these not true of the shown reference", *map(str, false), f"{sum(false)} of {sum(map(len, listed))}"),
    ]
    return Table((objective.replace("_", "-"), *RUNS, "together"), tuple(lines))


def _said(row: dict[str, Any]) -> bool:
    return row["verdict"] == "control" or bool(row["listed"])
