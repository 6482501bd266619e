"""The summaries of `scripts/studies/v4_synthesised.py`: groups, intervals, choosing and reporting sites."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def study():
    spec = importlib.util.spec_from_file_location("v4_synthesised", ROOT / "scripts/studies/v4_synthesised.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_versions_of_a_photograph_are_one_group(study):
    data = study.Data(np.zeros((400, 4, 4, 3), np.uint8), np.zeros((400, 2)))
    groups = np.array(data.groups)
    assert np.unique(groups, return_counts=True)[1].tolist() == [3] * 100
    of = {image: groups[image - 100] for image in (100, 150, 200, 250, 300, 350, 149)}
    assert of[100] == of[150] == of[200] != of[149]
    assert of[250] == of[300] == of[350] != of[100]


def test_even_sites_choose_and_odd_ones_report(study):
    values = np.arange(35.0) / 100
    found = study.summary(values)
    assert found["choosing"]["median"] == pytest.approx(0.17)
    assert found["reporting"]["mean"] == pytest.approx(np.arange(1, 35, 2).mean() / 100)
    low, high = found["all"]["mean_interval"]
    se = values.std() / np.sqrt(35)
    assert low == pytest.approx(values.mean() - 1.96 * se, abs=0.3 * se)
    assert high == pytest.approx(values.mean() + 1.96 * se, abs=0.3 * se)


def test_the_table_has_one_row_per_kind_of_image(study):
    one = {"synthesised": np.full(4, 0.5), "participation": np.full(4, 0.25), "drop": np.ones(4)}
    text = study.table({"a": one, "b": one | {"photographs": np.full(4, 0.75)}}).splitlines()
    assert [line.split()[:2] for line in text[1:]] == [["a", "synthesised"], ["b", "synthesised"], ["b", "photographs"]]
    assert "0.500 / 0.500 [0.500, 0.500]" in text[1]
    assert text[1].split()[-2:] == ["0.250", "1.00"]


def test_a_folder_without_the_recording_and_unknown_rows_are_told(study, tmp_path, capsys):
    assert study.main(["--data", str(tmp_path)]) == 3
    assert "no recording 210305" in capsys.readouterr().err
    assert set(study.rows(None)) < set(study.rows(object()))


def test_the_only_trunk_of_a_folder_is_found_and_two_are_refused(study, tmp_path: Path) -> None:
    assert study.trunk_in(tmp_path) == tmp_path
    (tmp_path / "enc_1").mkdir()
    assert study.trunk_in(tmp_path) == tmp_path / "enc_1"
    (tmp_path / "enc_2").mkdir()
    with pytest.raises(SystemExit, match="found 2 trunks, expected one"):
        study.trunk_in(tmp_path)
