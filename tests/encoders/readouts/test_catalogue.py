from __future__ import annotations

import importlib
import inspect
import pkgutil

import pytest
import torch

import encoders
from encoders import readouts
from encoders.readouts import CLASSES, FactorisedReadout, PopulationReadout, Readout, build_readout
from encoders.readouts.attention import SemanticTransformerReadout
from encoders.readouts.base import GradientReadout


def classes_of_the_folder() -> set[type[Readout]]:
    """Every readout class that a module of the folder defines, but for the base classes."""
    modules = [importlib.import_module(f"encoders.readouts.{m.name}") for m in pkgutil.iter_modules(readouts.__path__)]
    members = {c for module in modules for _, c in inspect.getmembers(module, inspect.isclass)}
    return {c for c in members if issubclass(c, Readout)} - {Readout, GradientReadout}


def test_the_catalogue_holds_every_readout_under_its_kind():
    assert set(CLASSES.values()) == classes_of_the_folder()
    assert {kind: readout.kind for kind, readout in CLASSES.items()} == {kind: kind for kind in CLASSES}
    assert {readout.__name__ for readout in CLASSES.values()} == set(readouts.__all__)


def test_the_earlier_name_of_the_linear_readout_stays():
    assert encoders.RidgeReadout is encoders.LinearReadout is readouts.RidgeReadout
    assert "RidgeReadout" in encoders.__all__


@pytest.mark.parametrize("kind", [FactorisedReadout, SemanticTransformerReadout])
def test_masks_keep_their_key_in_saved_encoders(kind):
    torch.manual_seed(0)
    readout = kind({"a": (4, 3, 3), "b": (2, 3, 3)}, 3)
    state = readout.state_dict()
    assert {"masks.0", "masks.1", "weights.0", "weights.1"} < set(state)
    saved = {name: torch.rand_like(tensor) for name, tensor in state.items()}
    again = build_readout(readout.config(), saved)
    assert isinstance(again, kind)
    assert torch.equal(again.site_masks()[1], saved["masks.1"])
    assert again.site_masks()[1] is again.masks[1]


def test_a_population_readout_needs_a_way_to_build_what_it_holds():
    with pytest.raises(ValueError, match="make it with build_readout"):
        PopulationReadout.restore({"kind": "population"}, {})
