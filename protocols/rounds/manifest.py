"""What ``manifest.json`` of an outbox says: how the round is shown, with what, and the sums of its files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.disk.files import portable, sha256_file
from protocols.packages import package_versions
from protocols.project.config.protocol import ProtocolConfig
from protocols.project.display import Display
from protocols.project.folder import Round, utc_now
from protocols.project.key import ROLES, read_key

from .order import Trial, pair_balance
from .stimulus import Stimulus

SCHEMA = "manifest/1"
ENTRIES = (
    "schema",
    "session",
    "round",
    "created_utc",
    "toolkit",
    "environment",
    "blinded",
    "display",
    "timing",
    "design",
    "counts",
    "sealed_key_sha256",
    "sealed_sites_sha256",
    "images",
)
"""The entries that an export writes itself."""


def fixed_entries(
    round_: Round, display: Display, config: ProtocolConfig, *, named: Mapping[str, Stimulus], trials: Sequence[Trial]
) -> dict[str, Any]:
    """The `ENTRIES` of a round whose key is sealed; roles are counted, never named with an image."""
    roles = Counter(s.role for s in named.values())
    shown = Counter(t.image_id for t in trials)
    sha256 = {r.image_id: r.sha256 for r in read_key(round_.key_path).rows}
    toolkit, environment = package_versions()
    return {
        "schema": SCHEMA,
        "session": round_.session_id,
        "round": round_.number,
        "created_utc": utc_now(),
        "toolkit": toolkit,
        "environment": environment,
        "blinded": True,
        "display": display.to_dict(),
        "timing": {
            "on_ms": config.on_ms,
            "off_ms": config.off_ms,
            "response_window_ms": list(config.response_window_ms),
        },
        "design": {
            "repeats": max(shown[i] for i, s in named.items() if s.role != "blank"),
            "blocks": 1 + max(t.block for t in trials),
            "blanks_per_block": config.blanks_per_block,
            "seed": config.seed,
            "previous_image": pair_balance(trials),
        },
        "counts": {"images": len(named), "trials": len(trials), **{r: roles[r] for r in ROLES}},
        "sealed_key_sha256": sha256_file(round_.key_path),
        "sealed_sites_sha256": sha256_file(round_.key_path.with_name("sites.csv")),
        "images": [{"image_id": i, "filename": f"images/{i}.png", "sha256": sha256[i]} for i in named],
    }


def checked_entries(round_: Round, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The caller's entries of ``manifest.json``: portable, JSON-able, none of the fixed ones."""
    twice = sorted(set(ENTRIES) & set(manifest))
    if twice:
        raise ValueError(f"the manifest entries {', '.join(twice)} are written by export itself; leave them out")
    entries: dict[str, Any] = portable(dict(manifest), round_.folder)
    json.dumps(entries, allow_nan=False)
    return entries
