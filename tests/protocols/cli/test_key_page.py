"""The example of docs/key.md, as printed, through the command line; and what becomes of it when it is spoilt."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from protocols.cli.app import app
from protocols.errors import CODES, DataError
from protocols.project.key import COLUMNS

PAGE = (Path(__file__).parents[3] / "docs" / "key.md").read_text(encoding="utf-8")
KEY = re.findall(r"```csv\n(.*?)```", PAGE, flags=re.DOTALL)[0]
RATES = {
    "made_a": (20, 4),
    "made_b": (3, 18),
    "park": (9, 3),
    "face": (7, 8),
    "tree": (5, 4),
    "wall": (3, 2),
    "grey": (1, 1),
}


@pytest.fixture(scope="module")
def responses(tmp_path_factory) -> Path:
    """Twelve repeats of each image of the example in four blocks, two sites."""
    path = tmp_path_factory.mktemp("page") / "responses.h5"
    rng = np.random.default_rng(0)
    trials = [(image, rep) for rep in range(12) for image in rng.permutation(list(RATES))]
    with h5py.File(path, "w") as file:
        file["responses"] = np.array([rng.poisson(RATES[image]) for image, _ in trials], float)
        file["image_id"], file["site_id"] = [str(image) for image, _ in trials], ["v4_001", "v4_002"]
        file["trial/block"], file["trial/rep"] = [rep // 3 for _, rep in trials], [rep for _, rep in trials]
        file.attrs.update({"units": "spikes", "window_ms": [50.0, 150.0]})
    return path


def evaluate(responses: Path, key: Path):
    return CliRunner().invoke(app, ["evaluate", "--responses", str(responses), "--key", str(key)])


@pytest.mark.parametrize("dialect", [("utf-8", ","), ("utf-8-sig", ";"), ("utf-16", "\t")])
def test_the_example_runs_as_printed_in_every_dialect(tmp_path, responses, dialect):
    path = tmp_path / "key.csv"
    path.write_text(KEY.replace(",", dialect[1]), encoding=dialect[0], newline="\r\n")
    result = evaluate(responses, path)
    assert result.exit_code == 0, result.output
    assert "stretch: 2 of 2 sites controlled" in result.output
    assert "one_hot" not in result.output  # the key asks for none


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("stretch:v4_001", "a", "K03"),
        ("stretch:v4_001", "stretch", "K03"),
        ("stretch:v4_001", "strech:v4_001", "K03"),
        (",stretch,", ",strech,", "K05"),
        ("stretch:v4_00", "one_hot:v4_00", "K04"),
        ("stretch:v4_00", "stretch:v4_90", "K04"),
        ("reference,", "natural,", None),
        (",1,", ",TRUE,", None),
        (",1,", ",ja,", "K02"),
        ("role,", "kind,", "K01"),
    ],
)
def test_a_slip_in_the_key_is_refused_with_the_cure_and_never_ends_in_0_of_0_sites(tmp_path, responses, old, new, code):
    path = tmp_path / "key.csv"
    path.write_text(KEY.replace(old, new), encoding="utf-8")
    result = evaluate(responses, path)
    if code is None:
        assert result.exit_code == 0
        assert "of 2 sites controlled" in result.output
    else:
        assert isinstance(result.exception, DataError)
        assert result.exception.code == code
        assert code in CODES


def test_every_column_has_its_line():
    for column in COLUMNS:
        assert re.search(rf"^\|[^|]*`{column.name}`[^|]*\|", PAGE, flags=re.MULTILINE), column.name
