"""The options of a fit: what is filled in where nothing is chosen, and what is refused."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from encoders import DEFAULT_BACKBONE, DEFAULT_LAYERS, DEFAULT_VALIDATOR_LAYERS, FitOptions, ReadoutSpec
from encoders.fitting.options import (
    DEFAULT_VALIDATOR_BACKBONE,
    PRESETS,
    SAME_NETWORK_VALIDATOR_LAYERS,
    FitSettings,
    report_settings,
    resolve,
)

TINY = "timm:test_efficientnet"


def resolved(**chosen: object) -> FitSettings:
    return resolve(FitOptions(**chosen), averages=False, networks_from=None)  # type: ignore[arg-type]


def test_nothing_chosen_is_the_default_preset_with_a_validator_of_another_network():
    settings = resolved()
    assert settings.backbone == DEFAULT_BACKBONE
    assert settings.layers == DEFAULT_LAYERS == PRESETS["diverse"]
    assert settings.validator_backbone == DEFAULT_VALIDATOR_BACKBONE
    assert settings.validator_layers == DEFAULT_VALIDATOR_LAYERS
    assert settings.readout == ReadoutSpec("factorised")
    assert settings.networks_from == ""
    for option in dataclasses.fields(FitOptions):
        if option.name in {f.name for f in dataclasses.fields(FitSettings)} and isinstance(option.default, int | float):
            assert getattr(settings, option.name) == option.default


def test_a_validator_on_a_network_that_the_encoder_reads_gets_another_layer():
    assert resolved(layers="two_networks").validator_layers == SAME_NETWORK_VALIDATOR_LAYERS
    own = resolved(backbone=TINY, layers=["blocks.0.0"])
    assert own.validator_backbone == TINY
    assert own.validator_layers == SAME_NETWORK_VALIDATOR_LAYERS


def test_a_named_readout_takes_the_pool_and_a_specified_one_keeps_its_own():
    assert resolved(readout="ridge", pool=3).readout == ReadoutSpec("ridge", pool=3)
    assert resolved(readout=ReadoutSpec("ridge", pool=5), pool=3).readout.pool == 5


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        (
            {"layers": "diverse_network"},
            "layers 'diverse_network'; expected a sequence of layers, or one of the presets",
        ),
        ({"fine_tune": 1.5}, "whole number of epochs"),
        ({"validator_layers": ()}, "at least one each"),
        ({"validator_backbone": DEFAULT_BACKBONE, "validator_layers": DEFAULT_LAYERS[:1]}, "none in both"),
        ({"readout": "rigde"}, "readout 'rigde'"),
    ],
)
def test_bad_choices_are_refused_before_anything_is_computed(chosen, message):
    with pytest.raises(ValueError, match=message):
        resolved(**chosen)


def test_the_record_for_the_report_is_json_and_leaves_out_what_is_not_used(tmp_path):
    held_out = np.arange(10) < 3
    record = report_settings(resolved(weights=tmp_path / "mine.pth"), 10, held_out)
    assert json.loads(json.dumps(record)) == record
    assert record["weights"] == "mine.pth"
    assert record["n_images"] == 10
    assert record["n_fitted_images"] == 7
    assert not {"networks_from", "final_fit"} & set(record)
    assert report_settings(resolved(final_fit=True), 10, held_out)["final_fit"] is True
