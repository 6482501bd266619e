"""The record of a fit as a typed record: it reads what stands in the file and writes the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols.disk.files import write_json
from protocols.errors import DataError
from protocols.project.fitted import Fitted, SiteFit, fitted_for, maker, newest_fit, path_of, write_fitted

RECORD = {
    "schema": "fitted/1",
    "round": 2,
    "encoder": "enc_a",
    "validator": "enc_b",
    "rounds": [0, 1],
    "report": {
        "sites": [
            {
                "site_id": "v4_001",
                "n_trials": 9,
                "held_out_r": 0.5,
                "rf_x_deg": None,
                "eligible_fit": True,
                "alphas": {},
            },
            {"site_id": "v4_002", "n_trials": 9, "reason": "reliability 0.1"},
        ]
    },
    "another_key": 3,
}


def test_the_record_is_written_as_it_was_read(tmp_path: Path) -> None:
    assert fitted_for(tmp_path, 2) is None
    assert newest_fit(tmp_path) is None
    write_json(path_of(tmp_path, 2), RECORD)
    before = (tmp_path / "for_round_02.json").read_bytes()
    fitted = fitted_for(tmp_path, 2)
    assert fitted == Fitted(RECORD)
    write_fitted(tmp_path, 2, fitted.record)
    assert (tmp_path / "for_round_02.json").read_bytes() == before
    write_fitted(tmp_path, 11, RECORD)
    assert newest_fit(tmp_path) == 11


def test_encoders_and_rounds() -> None:
    fitted = Fitted(RECORD)
    assert (fitted.round, fitted.encoder, fitted.validator, fitted.final) == (2, "enc_a", "enc_b", None)
    assert fitted.maker == maker(RECORD) == "enc_a"
    assert fitted.members == {"encoder": "enc_a", "validator": "enc_b"}
    assert fitted.rounds == fitted.readout_rounds == fitted.fitted_rounds == [0, 1]
    assert fitted.refit == {}
    later = Fitted(RECORD | {"final": "enc_c", "readout_rounds": [0], "fitted_rounds": [1], "refit": {"mode": "gain"}})
    assert (later.maker, maker(later.record)) == ("enc_c", "enc_c")
    assert list(later.members) == ["encoder", "validator", "final"]
    assert (later.readout_rounds, later.fitted_rounds, later.refit) == ([0], [1], {"mode": "gain"})


def test_sites() -> None:
    first, second = Fitted(RECORD).sites
    assert first == SiteFit("v4_001", held_out_r=0.5, eligible_fit=True) == Fitted(RECORD).site("v4_001")
    assert (second.reason, second.eligible_fit) == ("reliability 0.1", False)
    assert Fitted(RECORD).site("v4_009") == SiteFit("v4_009")
    assert Fitted({"report": {}}).sites == ()


def test_a_record_that_is_no_object_is_refused(tmp_path: Path) -> None:
    write_json(path_of(tmp_path, 1), [])
    with pytest.raises(DataError, match="S06"):
        fitted_for(tmp_path, 1)
