"""What `[encoder] effort` gives to the keys that are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from encoders import FitOptions
from protocols.errors import DataError
from protocols.models.fit import fit_options
from protocols.project.config.encoder import EFFORTS, EncoderConfig
from protocols.project.config.load import config_from_dict


def loaded(**encoder: Any) -> EncoderConfig:
    return config_from_dict({"display": {"width_px": 64, "height_px": 64, "size_deg": 4.0}, "encoder": encoder}).encoder


def options(config: EncoderConfig) -> FitOptions:
    return fit_options(config, Path())


def test_nothing_said_is_the_quick_fit_that_it_always_was() -> None:
    assert options(loaded()) == options(loaded(effort="quick")) == FitOptions()


def test_full_tunes_two_networks_and_fits_once_more() -> None:
    found = options(loaded(effort="full"))
    assert (found.layers, found.fine_tune, found.final_fit) == ("two_networks", 8, True)
    assert found.readout == "ridge+factorised"
    assert found != options(loaded())


@pytest.mark.parametrize("effort", EFFORTS)
def test_keys_that_are_stated_stand(effort: str) -> None:
    """A file of earlier versions states all of them."""
    stated = {"preset": "diverse_networks", "fine_tune": 4, "final_fit": True, "readout": "ridge"}
    assert loaded(effort=effort, **stated).settled().model_dump(include=set(stated)) == stated
    for key, value in {"preset": "diverse", "fine_tune": 0, "final_fit": False}.items():
        settled = loaded(effort=effort, **{key: value}).settled()
        others = {k: v for k, v in EFFORTS[effort].items() if k != key}  # type: ignore[index]
        assert settled.model_dump(include=set(EFFORTS[effort])) == others | {key: value}  # type: ignore[index]


def test_every_effort_says_the_same_keys() -> None:
    assert EFFORTS["quick"].keys() == EFFORTS["full"].keys()


@pytest.mark.parametrize("wrong", ["ridg", "ridge+", "+ridge", "ridge+nope", "ridge factorised", ""])
def test_a_family_that_there_is_not_is_refused(wrong: str) -> None:
    with pytest.raises(DataError, match=r"expected 'factorised'.* or several of these joined by '\+'") as caught:
        loaded(readout=wrong)
    assert caught.value.code == "C02"


def test_families_joined_are_read() -> None:
    assert options(loaded(readout="ridge+factorised")).readout == "ridge+factorised"
