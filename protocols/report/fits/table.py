"""``sites.csv``: one line per recorded site of a fit."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from protocols.disk.tables import write_table

__all__ = ["COLUMNS", "USES", "site_line", "site_lines", "write_sites"]

COLUMNS = (
    "site",
    "use",
    "reason",
    "trials",
    "images",
    "reliability",
    "held_out_reliability",
    "ceiling",
    "held_out_r",
    "held_out_r_nc",
    "held_out_feve",
    "validator_r",
    "validator_r_nc",
    "validator_feve",
    "layer",
    "layer_r2",
    "penalty",
    "penalty_at_edge",
    "field_x_deg",
    "field_y_deg",
    "field_sd_deg",
    "field_reason",
)
"""Of the table; docs/fit.md says what each holds. An empty cell: not known."""
USES = ("target", "fitted", "not fitted")
"""Values of ``use``: may be controlled; is in the encoder, as one of the other sites; is in no encoder."""


def site_line(site: Mapping[str, Any]) -> dict[str, Any]:
    """One site of a record's ``report.sites`` by the names of `COLUMNS`; None = not known."""
    layer = site.get("best_layer") or ""
    penalties = site.get("alphas") or {}
    return {
        "site": str(site["site_id"]),
        "use": USES[0] if site.get("eligible_target") else USES[1] if site.get("eligible_fit") else USES[2],
        "reason": site.get("reason") or "",
        "trials": site.get("n_trials"),
        "images": site.get("n_images"),
        **{name: site.get(name) for name in COLUMNS[5:14]},
        "layer": layer,
        "layer_r2": (site.get("cv_r2") or {}).get(layer),
        "penalty": penalties.get(layer),
        "penalty_at_edge": "yes" if layer and layer in (site.get("alpha_at_edge") or ()) else "no" if penalties else "",
        **{f"field_{name}_deg": site.get(f"rf_{name}_deg") for name in ("x", "y", "sd")},
        "field_reason": site.get("rf_reason") or "",
    }


def site_lines(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every site of the record of a fit, in its order."""
    return [site_line(site) for site in record.get("report", {}).get("sites", [])]


def write_sites(record: Mapping[str, Any], path: Path) -> Path:
    """Write the table; numbers have six digits."""
    lines = [[_cell(line[name]) for name in COLUMNS] for line in site_lines(record)]
    write_table(path, COLUMNS, lines)
    return path


def _cell(value: Any) -> Any:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else value
