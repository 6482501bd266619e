"""Studies on recorded V4 sites."""

from __future__ import annotations

import json
import re
from typing import Any

from .readers import Outcome
from .records import records
from .tables import Shown, Table


def discriminative(outcome: Outcome) -> dict[str, Shown]:
    """Clusters and typing of discriminative_v4 from its report, a block of rows per recording."""
    report = json.loads((outcome.folder / "discriminative.json").read_text(encoding="utf-8"))["sessions"]
    first, *rest = report
    clusters = _methods(report[first], METHODS)
    for session in rest:
        clusters += [
            (_sites(session, report[session]), "", "", "", ""),
            *_methods(report[session], dict.fromkeys(METHODS)),
        ]
    r = next(iter(report[first]["methods"].values()))
    heads = (
        _sites(first, report[first]),
        "adjusted Rand of the two halves",
        f"mean rank of the right image (chance {r['chance_rank']:.2f})",
        f"first (chance {r['chance_first']:.2f})",
        "margin (SD)",
    )
    counts, typing = [n for n in report[first]["typing"]["discriminative"] if n != "no noise"], []
    for session, found in report.items():
        for name, label in TYPED.items():
            curve = found["typing"][name]
            told = [f"{curve[n]:.2f}" if n in curve else "" for n in (*counts, "no noise")]
            typing.append((label.format(session=session), *told))
    return {
        "clusters": Table(heads, tuple(clusters)),
        "presentations": Table(("", *counts, "without noise"), tuple(typing)),
    }


METHODS = {
    "discriminative": None,
    "by photographs": "the same alternation over photographs, `by photographs`",
    "k-means": "k-means on responses to photographs, and its best photographs",
}
"""Methods of discriminative_v4 as the page names them in its first block."""
TYPED = {
    "discriminative": "{session}, discriminative images",
    "same clusters from random photographs": "the same clusters, random photographs",
}
"""Curves of discriminative_v4 that the page shows."""


def _sites(session: str, found: dict[str, Any]) -> str:
    return f"{session}, {found['sites']} sites"


def _methods(found: dict[str, Any], names: dict[str, str | None]) -> list[tuple[str, ...]]:
    keys = ("adjusted_rand", "mean_rank", "first", "margin")
    return [(label or name, *(f"{found['methods'][name][key]:.2f}" for key in keys)) for name, label in names.items()]


def predictivity(outcome: Outcome) -> dict[str, Shown]:
    """Scores of v4_predictivity by how the folds are made: combined, of each layer, and with random weights."""
    found = json.loads((outcome.folder / "predictivity.json").read_text(encoding="utf-8"))
    by: dict[tuple[str, str], list[str]] = {}
    for row in found["rows"]:
        alone = "alone" if row["layers"].startswith("blocks.") else "together"
        by.setdefault((row["weights"] if row["weights"] == "random" else alone, row["folds_by"]), []).append(
            f"{row['r_nc']:.3f}"
        )
    splits = {"image": "folds by image", "near-duplicate": "by near-duplicate image", "object": "by object"}
    layers = [
        row["layers"] for row in found["rows"] if row["layers"].startswith("blocks.") and row["folds_by"] == "image"
    ]
    short = [layer.removeprefix("blocks.") for layer in layers]
    together, random = (
        next(row["layers"] for row in found["rows"] if row["layers"].startswith(begin))
        for begin in ("mean of", "best of")
    )
    assert together == f"mean of {', '.join(layers)}"
    labels = {
        "together": f"trained, mean over blocks.{', '.join(short)}",
        "alone": f"trained, blocks.{' / '.join(short)} alone",
        "random": f"random weights, {random.partition(':')[0]}",
    }
    rows = [(label, *(" / ".join(by.get((key, split), [])) for split in splits)) for key, label in labels.items()]
    return {"layers": Table(("EfficientNet-Lite0, ridge", *splits.values()), tuple(rows))}


def metamers(outcome: Outcome) -> dict[str, Shown]:
    """Median distances of metamers and of pairs of photographs, as `stimsynth invariance` says them."""
    lines = [re.split(r"\s{2,}", line.strip()) for line in outcome.printed[-1].splitlines()]
    begin = next(i for i, words in enumerate(lines) if words[0] == "median")
    rows = tuple((words[0], words[1], words[2]) for words in lines[begin + 1 : begin + 5])
    return {"distances": Table(("", *lines[begin][1:]), rows)}


def library(outcome: Outcome) -> dict[str, Shown]:
    """The best and worst photograph per site from search.json."""
    found = json.loads((outcome.folder / "strongest" / "search.json").read_text(encoding="utf-8"))
    rows = []
    for row in found["rows"]:
        (site,) = re.findall(r"v4_\d+", row["objective"])
        values = row["own_best"], row["best"]["score"], row["best"]["validator"], row["worst"]["score"]
        rows.append((site, *(f"{value:.2f}" for value in values)))
    old = records()["library"].tables["sites"]
    assert isinstance(old, Table)
    return {"sites": Table(old.columns, tuple(rows))}
