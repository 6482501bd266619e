"""Section ``[evolution]``: what does not go together is refused with the key and a way out that works."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.errors import DataError
from protocols.project.config.load import config_from_dict

DISPLAY = {"width_px": 32, "height_px": 32, "size_deg": 4.0}


def load(kinds: list[str], **evolution: Any) -> Any:
    tables = {"display": DISPLAY, "arms": {"kinds": kinds}, "evolution": evolution}
    return config_from_dict(tables)


def test_no_project_evolves_by_itself() -> None:
    config = config_from_dict({"display": DISPLAY})
    assert config.evolution.generations == 0
    assert "evolved" not in config.arms.kinds


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ({"kinds": [], "generations": 20}, {"kinds": ["evolved"], "generations": 20}),
        ({"kinds": ["evolved"]}, {"kinds": []}),
        (
            {"kinds": ["evolved"], "generations": 2, "latent": "prior", "start": "photographs"},
            {"kinds": ["evolved"], "generations": 2, "latent": "prior"},
        ),
        (
            {"kinds": ["evolved"], "generations": 2, "optimiser": "genetic", "population": 10},
            {"kinds": ["evolved"], "generations": 2, "optimiser": "genetic", "population": 11},
        ),
        (
            {"kinds": ["evolved"], "generations": 2, "repeats": 5},
            {"kinds": ["evolved"], "generations": 2, "repeats": 4},
        ),
        (
            {"kinds": ["evolved"], "generations": 2, "references": 1},
            {"kinds": ["evolved"], "generations": 2, "references": 1, "reference_repeats": 1},
        ),
        (
            {"kinds": ["evolved"], "generations": 2, "targets": [f"v4_{i:03d}" for i in range(39)]},
            {"kinds": ["evolved"], "generations": 2, "targets": [f"v4_{i:03d}" for i in range(28)]},
        ),
        (
            {"kinds": ["evolved"], "generations": 2, "targets": [f"v4_{i:03d}" for i in range(29)]},
            {"kinds": ["evolved"], "generations": 2, "targets": [f"v4_{i:03d}" for i in range(28)]},
        ),
    ],
    ids=["no arm", "arm alone", "prior", "elites", "references", "one reference", "too many", "too many at the end"],
)
def test_contradictions_are_refused_and_their_way_out_is_taken(wrong: dict[str, Any], right: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        load(**wrong)
    assert caught.value.code == "C04"
    assert load(**right).evolution.generations == right.get("generations", 0)
