from __future__ import annotations

import json

import numpy as np
import pytest

from encoders import Candidate, ReadoutSpec, compare
from encoders.fitting.comparison import area_gradient, layer_search
from protocols.errors import DataError
from protocols.models.compare import checked_table, save_comparison
from protocols.recordings.dataset import _places
from protocols.recordings.responses import Responses

TINY, LAYERS = "timm:test_efficientnet", ("blocks.0.0", "blocks.1.0", "blocks.2.0")
AREAS = ["V1", "V1", "V1", "V4", "V4", "V4"]


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    return np.stack([np.arange(6.0) * 400, np.zeros(6)], 1)


@pytest.fixture(scope="module")
def found(places: np.ndarray):
    """Sites along a line; those of V1 are linear in the first layer, those of V4 in the second."""
    from encoders import backbone, extract_features

    rng = np.random.default_rng(0)
    images = np.repeat(np.repeat(rng.integers(0, 256, (90, 8, 8, 3), dtype=np.uint8), 4, 1), 4, 2)
    rows = extract_features(backbone(TINY, LAYERS[:2], weights="random"), images, pool=2)
    truth = np.concatenate(
        [rows[layer].numpy() @ rng.normal(size=(rows[layer].shape[1], 3)) for layer in LAYERS[:2]], 1
    )
    truth = (truth - truth.mean(0)) / truth.std(0)
    index = np.repeat(np.arange(90), 4)
    trials = 5 + truth[index] + 0.4 * rng.normal(size=(360, 6))
    candidates = [
        Candidate(
            name="search",
            readout=ReadoutSpec("ridge", pool=4),
            layers=LAYERS[:2],
            backbone=TINY,
            weights="random",
            combine="best",
        ),
        Candidate(
            name="topographic",
            readout=ReadoutSpec("topographic", pool=4, epochs=2),
            layers=LAYERS[:2],
            backbone=TINY,
            weights="random",
        ),
    ]
    sites = [f"s{u}" for u in range(6)]
    return compare(candidates, images, trials, image_index=index, site_ids=sites, folds=3, coordinates=places)


def test_layers_rise_with_the_area_that_reads_deeper(found) -> None:
    gradient = area_gradient(layer_search(found), AREAS)
    assert gradient is not None
    assert gradient.areas == ("V1", "V4")
    assert gradient.mean_layer[0] < gradient.mean_layer[1]
    assert area_gradient(layer_search(found), ["V4"] * 6) is None
    assert area_gradient(layer_search(found), []) is None


def test_table_figure_and_gradient_are_written(found, places, tmp_path) -> None:
    save_comparison(found, tmp_path / "comparison", areas=AREAS, places=places)
    record = json.loads((tmp_path / "comparison.json").read_text(encoding="utf-8"))
    assert set(record["layer_gradient"]["mean_layer_and_sites"]) == {"V1", "V4"}
    assert (tmp_path / "comparison.png").stat().st_size > 10_000
    assert len((tmp_path / "comparison.csv").read_text(encoding="utf-8").splitlines()) == 1 + 3 * 6
    assert found.scores[1].layer_weights.shape == (6, 2)
    np.testing.assert_allclose(found.scores[1].layer_weights.sum(1), 1, atol=1e-5)


def test_a_topographic_readout_without_places_is_refused(found) -> None:
    with pytest.raises(ValueError, match="no site/x_um and site/y_um"):
        ReadoutSpec("topographic").at(None)
    with pytest.raises(ValueError, match="needs the place of every site"):
        ReadoutSpec("topographic").at(np.array([[0.0, np.nan]]))
    assert ReadoutSpec("ridge").at(None) == ReadoutSpec("ridge")


def test_areas_and_places_come_from_the_recordings() -> None:
    table = {"a": {"area": "V4", "x_um": 0.0, "y_um": 1.0}, "b": {"area": "V1", "x_um": 2.0, "y_um": 3.0}}

    def responses(sites: dict[str, dict[str, object]]) -> Responses:
        return Responses(
            values=np.zeros((1, 2)),
            image_ids=np.array(["x"]),
            site_ids=("a", "b"),
            unit="spikes",
            window_ms=(0.0, 1.0),
            attributes={"sites": sites},
        )

    areas, places = _places([responses(table)], ("a", "b"))
    assert areas == ("V4", "V1")
    np.testing.assert_array_equal(places, [[0, 1], [2, 3]])
    areas, places = _places([responses({"a": table["a"], "b": {"area": "V1"}})], ("a", "b"))
    assert (areas, places) == (("V4", "V1"), None)
    later = responses({"b": {"x_um": 5.0, "y_um": 6.0}})
    assert _places([responses(table), later], ("a", "b"))[1][1].tolist() == [5, 6]


def test_a_file_that_names_what_does_not_exist_is_refused(tmp_path) -> None:
    path = tmp_path / "readouts.toml"
    for text, message in (("candidate = 3", "no [[candidate]]"), ("[[candidate", "F03"), ("", "no [[candidate]]")):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(DataError) as caught:
            checked_table(path, LAYERS)
        assert message in str(caught.value)
    with pytest.raises(DataError, match="F03"):
        checked_table(tmp_path / "absent.toml", LAYERS)
