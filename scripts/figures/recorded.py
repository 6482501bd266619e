"""Studies on recorded V4 sites."""

from __future__ import annotations

import json
import math
import re
import statistics
from typing import Any

from .readers import Outcome, rows_of
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


WIDTHS = {
    "scale": "scale, octaves",
    "rotation": "rotation, degrees",
    "position_x": "position_x, 28 pixels = 2 degrees each way",
    "position_y": "position_y",
    "contrast": "contrast",
}
"""Series of `stimsynth tuning` as the page names them."""


def tuning(outcome: Outcome, folder: str = "all_series") -> dict[str, Shown]:
    """Half-widths of stretch controllers from tuning.csv; a width that most sites do not reach is "beyond"."""
    controllers = json.loads((outcome.folder / folder / "tuning.json").read_text(encoding="utf-8"))["controllers"]
    stretch = [
        row
        for row in rows_of(outcome.folder / folder / "tuning.csv")
        if controllers[int(row["controller"])].startswith("stretch:")
    ]
    sites, lines = len({row["site"] for row in stretch}), []
    for series, label in WIDTHS.items():
        rows = [row for row in stretch if row["series"] == series]
        widths = {side: [float(row[side] or "inf") for row in rows] for side in SIDES}
        told = {side: _width(values) for side, values in widths.items()}
        fall = {side: sum(map(math.isfinite, values)) for side, values in widths.items()}
        lines.append(
            (
                label,
                *(f"{told[side]} ({told[f'validator_{side}']})" for side in ("below", "above")),
                f"{fall['below']} / {fall['above']} ({fall['validator_below']} / {fall['validator_above']})",
            )
        )
    heads = (
        f"stretch, {sites} sites, by the encoder (validator)",
        "median half-width below",
        "above",
        "sites that fall to half, below / above",
    )
    return {"widths": Table(heads, tuple(lines))}


SIDES = ("below", "above", "validator_below", "validator_above")


def _width(values: list[float]) -> str:
    middle = statistics.median(values)
    return "beyond" if math.isinf(middle) else f"{middle:.2f}" if middle < 10 else f"{middle:.0f}"


def evolved(outcome: Outcome) -> dict[str, Shown]:
    """True response of the image that each arm names, before the first generation and after the last, at the sites that have run."""
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in (outcome.folder / "runs").glob("*.json")]
    truth = {(run["site"], run["arm"]): run["truth"] for run in runs}
    sites = sorted({site for site, _ in truth if all((site, arm) in truth for arm in EVOLVED)})
    rows = tuple(
        (site, *(f"{truth[site, arm][0]:.2f} to {truth[site, arm][-1]:.2f}" for arm in EVOLVED)) for site in sites
    )
    return {"sites": Table(("site", *EVOLVED.values()), rows)}


EVOLVED = {"cma": "cma", "genetic": "genetic", "random": "random", "shuffled": "cma, counts shuffled"}
"""Arms of evolution_benchmark that the page shows, with their heads."""


def invariant(outcome: Outcome) -> dict[str, Shown]:
    """Points of level sets whose responses are held, by encoder, validator and hidden model, from the report of invariance_v4."""
    report = json.loads((outcome.folder / "invariance_v4.json").read_text(encoding="utf-8"))
    found = next(row for row in report["levels"] if row["smooth"] == 0)
    n = found["points"]
    held = [round(found[who] * n) for who in ("encoder", "validator", "truth", "mixture_truth")]
    heads = (
        "responses held by",
        "encoder at the level",
        "validator",
        "hidden model",
        "plain mixtures as far from the target, hidden model",
    )
    return {"levels": Table(heads, (("`--smooth 0`", f"{held[0]} of {n}", *map(str, held[1:])),))}


ENCODERS = {
    "default": "factorised, Lite0 alone (default)",
    "tuned": "factorised, networks tuned on the 300 photographs (`tuned`)",
    "full": 'ridge + factorised, the same way (`effort = "full"`)',
    "two_networks_ridge": "ridge, trained networks",
    "trunk_population": "**population, trunk of the five days**",
}
"""Rows of v4_synthesised as the page names them; its other rows came from the solvers called directly."""


def synthesised(outcome: Outcome) -> dict[str, Shown]:
    """Median and mean r by encoder from the table of v4_synthesised; rows that it does not print stay as they are."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in outcome.printed[-1].splitlines():
        name, kind = line.split()[:2]
        if name in ENCODERS:
            found.setdefault(ENCODERS[name], {})[kind] = re.findall(r"[-\d.]+ / [-\d.]+(?: \[[-\d., ]+\])?", line)
    old = records()["synthesised"].tables["encoders"]
    assert isinstance(old, Table)
    rows = []
    for row in old.rows:
        kinds = found.get(row[0])
        if kinds:
            cells = [*kinds["synthesised"][:3], kinds.get("photographs", [row[4]])[0]]
            cells = [
                re.sub(r"^([-\d.]+ / [-\d.]+)", r"**\1**", new) if was.startswith("**") else new
                for was, new in zip(row[1:], cells, strict=True)
            ]
            row = (row[0], *cells)
        rows.append(row)
    return {"encoders": Table(old.columns, tuple(rows), old.align)}
