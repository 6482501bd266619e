"""From the reports of the benchmarks on models of V4 sites to the tables of their records."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from protocols.stats.intervals import wilson_interval

from .readers import Outcome
from .records import records
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


PARTS = {
    "photographs": "best measured photograph",
    "1/f baseline": "1/f Fourier, one readout, noise start",
    "Bashivan 2019": "Bashivan 2019's recipe, one readout",
    "one readout": "default, but one readout",
    "no jitter": "default, but no jitter",
    "noise start": "default, but from noise",
    "decay 1": "default, but 1/f (not 1/f^1.75)",
    "SD of means": "default, but z in SDs of the measured means",
    "default": "**default**",
    "rate 0.02": "default, learning rate 0.02 (not 0.05)",
    "rate 0.01": "default, learning rate 0.01",
    "more data": "default, fitted to 81 % of photographs, not 64 %",
    "quick": "`recipes.quick`: 10 large steps (not 60)",
    "quick 30": "30 of them",
    "quick 60 shifted": "60 of them, with the default's shifts",
    "tuned": "the default on 81 % of photographs, network tuned end to end",
    "two tuned": "two such networks (EfficientNet-Lite0 and Lite2)",
    "strong": "two such networks, the encoder's choice of three starts",
    "four tuned": "four (two of each, on two draws of the photographs)",
    "two tuned by a project": '**two networks tuned by a project** (`preset = "two_networks"`, `fine_tune = 8`)',
    "two tuned other days": "**the same, begun with the networks of other recordings** (`networks_from`)",
}
"""Arms of v4_control as the page names them, in its order."""
BOTH = {
    **{arm: label for arm, label in PARTS.items() if arm not in ("rate 0.02", "rate 0.01", "more data", "quick", "quick 30", "quick 60 shifted", "tuned", "four tuned")},
    "two tuned": "two networks tuned, each on 81 % of the photographs",
    "strong": "the same, the encoder's choice of three starts",
}  # fmt: skip
"""Those of the tables with one-hot images."""


def control_parts(outcome: Outcome) -> dict[str, Shown]:
    """Arms of one draw from the report of v4_control; the table of an earlier unit, which no arm has now, stays."""
    sessions = _control(outcome)
    heads = ("change from the default", "chroma", "local contrast", "median at equal chroma and local contrast")
    above = "above every natural image", "above the best natural image's"
    tables: dict[str, Shown] = {}
    columns: tuple[str, ...]
    if "210225" in sessions:
        arms = sessions["210225"]
        stretch = [arm for arm in PARTS if arm != "SD of means"]
        rows = [_part(PARTS[arm], arms[arm, "stretch"], 2) for arm in stretch if (arm, "stretch") in arms]
        columns = ("stretch", "true response / M, median", heads[0], "above M", above[0], *heads[1:])
        tables["stretch"] = Table(columns, tuple(rows))
        rows = [_part(BOTH[arm], arms[arm, "one_hot"], 1) for arm in BOTH if (arm, "one_hot") in arms]
        columns = ("one-hot", "true margin (natural SD), median", heads[0], above[1], *heads[1:])
        tables["one_hot"] = Table(columns, tuple(rows))
    if "201025" in sessions:
        arms = sessions["201025"]
        columns = (
            "",
            "stretch: true response / M",
            heads[0],
            "above M",
            above[0],
            "one-hot: true margin",
            "change",
            above[1],
        )
        rows = [
            (*_part(BOTH[arm], arms[arm, "stretch"], 2)[:5], *_part("", arms[arm, "one_hot"], 1)[1:4])
            for arm in BOTH
            if (arm, "stretch") in arms
        ]
        tables["201025"] = Table(columns, tuple(rows))
    return tables


def _control(outcome: Outcome) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    report = json.loads((outcome.folder / "control" / "v4_control.json").read_text(encoding="utf-8"))
    return {
        session: {(row["arm"], row["objective"]): row for row in found["rows"]}
        for session, found in report["sessions"].items()
    }


def _part(label: str, row: dict[str, Any], bars: int) -> tuple[str, ...]:
    shares = [
        f"{100 * a['successes'] / a['of']:.0f} % [{100 * a['low']:.0f}, {100 * a['high']:.0f}]"
        for a in list(row["above"].values())[:bars]
    ]
    change = "" if row["arm"] == "default" else _triple(row["change"], "+")
    contrast = (row["chroma"], row["local"], row["median_equal"][0])
    return (label, _triple(row["median"]), change, *shares, *(f"{value:.2f}" for value in contrast))


FAMILIES = {
    "default": "quick (the default of earlier versions)",
    "by a project final": "factorised: two networks tuned, final fit",
    "ridge on tuned final": "ridge on the same networks",
    "families final": "ridge + factorised on the same networks",
}
"""Arms of v4_control whose readouts are compared on the same networks; changes are from the second."""


def families(outcome: Outcome) -> dict[str, Shown]:
    """Families of readouts from the report of v4_control, with changes from the factorised readouts at the same sites."""
    (arms,) = _control(outcome).values()
    rows = []
    for arm, label in FAMILIES.items():
        cells = []
        for objective, bar in (("stretch", 1), ("one_hot", 0)):
            row, base = arms[arm, objective], arms["by a project final", objective]
            change = np.array(row["values"]) - np.array(base["values"])
            draws = np.random.default_rng(0).integers(0, len(change), (4000, len(change)))
            low, high = np.quantile(change[draws].mean(1), (0.025, 0.975))
            above = list(row["above"].values())[bar]
            cells += [
                f"{row['median'][0]:.2f}",
                "" if row is base else _triple((change.mean(), low, high), "+"),
                f"{above['successes']} of {above['of']}",
            ]
        rows.append((label, *cells))
    heads = ("arm", "stretch, true response / M", "paired change", "above every natural image",
             "one-hot, true margin (SD)", "paired change", "above the best natural image's")  # fmt: skip
    return {"arms": Table(heads, tuple(rows))}


def truth(outcome: Outcome) -> dict[str, Shown]:
    """Truth and verdicts of round one from the report of v4_benchmark; the rows and the column of ridge, an earlier default, stay."""
    report = json.loads((outcome.folder / "V4" / "v4_benchmark.json").read_text(encoding="utf-8"))
    sessions = {name: [r for r in found["rows"] if r["round"] == 1] for name, found in report["sessions"].items()}
    kinds = {"stretch": "stretch", "one-hot": "one_hot"}
    of = {
        kind: {s: [r for r in rows if r["objective"] == o] for s, rows in sessions.items()} for kind, o in kinds.items()
    }
    every = {kind: [r for rows in of[kind].values() for r in rows] for kind in of}
    old, verdicts = (records()["benchmark"].tables[name] for name in ("truth", "verdicts"))
    assert isinstance(old, Table)
    assert isinstance(verdicts, Table)
    lines = []
    for row in old.rows:
        kind, what = row[0].split(": ", 1)
        if what in SHARES:
            hits = {s: sum(bool(r[SHARES[what]]) for r in rows) for s, rows in of[kind].items()}
            n, all_of = sum(hits.values()), len(every[kind])
            low, high = wilson_interval(n, all_of)
            cells = [f"{hit} of {len(of[kind][s])}" for s, hit in hits.items()]
            told = [*cells, f"{n} of {all_of} ({100 * n / all_of:.0f} %)", f"{100 * low:.0f} % to {100 * high:.0f} %"]
        else:
            told = [_median(kind, rows) for rows in (*of[kind].values(), every[kind])] + [""]
        lines.append((row[0], *told, row[-1]))
    judged: dict[tuple[str, ...], tuple[str, ...]] = {
        ("24", "factorised", kind): _judged(rows) for kind, rows in every.items()
    }
    return {
        "truth": Table((old.columns[0], *sessions, *old.columns[-3:]), tuple(lines)),
        "verdicts": Table(verdicts.columns, tuple((*row[:3], *judged.get(row[:3], row[3:])) for row in verdicts.rows)),
    }


SHARES = {
    "true response above M": "above_m",
    "true response above every natural image's": "above_natural_maximum",
    "true z margin above the best natural image's": "beats_natural_margin",
}


def _median(kind: str, rows: Sequence[dict[str, Any]]) -> str:
    if kind == "stretch":
        return f"{np.median([r['relative_to_m'] for r in rows]):.2f}"
    margin, natural = (np.median([r[name] for r in rows]) for name in ("margin", "best_natural_margin"))
    return f"{margin:.2f} ({natural:.2f})"


def _judged(rows: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    known = [r for r in rows if r["beats_reference"] is not None and r["verdict"] in ("control", "no control")]
    true, said = [r for r in known if r["beats_reference"]], [r for r in known if r["verdict"] == "control"]
    found, n = sum(bool(r["beats_reference"]) for r in said), len(known)
    sensitivity = f"{found} of {len(true)}" + f" ({100 * found / len(true):.0f} %)" * bool(true)
    return f"{len(true)} of {n}", f"{len(said)} of {n}", sensitivity, f"{len(said) - found} of {n - len(true)}"
