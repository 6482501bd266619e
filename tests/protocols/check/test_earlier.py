"""`check` and the encoder that networks_from names: what a fit would refuse is told before."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from encoders import EncoderInfo, Ensemble, backbone
from encoders.fitting.earlier_networks import NoEarlierNetworks, known_readouts
from encoders.fitting.readout_spec import ReadoutSpec
from encoders.readouts import FactorisedReadout
from protocols.check.findings import collected
from protocols.check.networks import earlier
from protocols.project.folder import Project
from tests.protocols.helpers.checked_project import DISPLAY, make, set_keys

LAYER = "blocks.3.0"
INFO = EncoderInfo(
    site_ids=("a_1", "b_1"),
    target_ids=(),
    response_unit="spikes",
    image_shape=DISPLAY.shape,
    field_of_view_deg=4.0,
    background=128,
    colour="rgb",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return make(tmp_path_factory.mktemp("checked") / "lab")


def known(size: int = 32, **changes: Any) -> Ensemble:
    """An encoder of two sites of another recording, on the network as it was trained."""
    network = backbone("offline:efficientnet_lite0", [LAYER])
    with torch.no_grad():
        shape = network(torch.zeros(1, 3, size, size))[LAYER].shape[1:]
    readouts = [FactorisedReadout({LAYER: shape}, 2, seed=seed) for seed in range(2)]
    info = replace(INFO, **{"image_shape": (3, size, size)} | changes)
    return Ensemble(network, readouts, info, natural_mean=torch.zeros(2), natural_sd=torch.ones(2))


def told(project: Project, encoder: Ensemble, **keys: Any) -> list[Any]:
    path = encoder.save(project.folder / "earlier")
    own = {
        "preset": "single",
        "layers": (),
        "backbone": "offline:efficientnet_lite0",
        "readout": "population",
        "validator_layers": ("blocks.3.2",),
    }
    changes = own | {"networks_from": f"earlier/{path.name}"} | keys
    set_keys(project, {("encoder", key): value for key, value in changes.items()}, project.config)
    return collected("networks", earlier, Project.open(project.folder))


@pytest.mark.parametrize(
    ("encoder", "keys", "said"),
    [
        ({}, {"layers": ("blocks.2.0",)}, "reads blocks.3.0, which this fit does not"),
        ({"size": 64}, {}, "reads images of 64 x 64 pixels; this fit has 32 x 32"),
        ({}, {"readout": "ridge"}, "tuned no network; expected one of"),
        ({}, {"backbone": "offline:efficientnet_lite2"}, "tuned no network"),
    ],
)
def test_what_a_fit_refuses_is_told(project: Project, encoder: dict[str, Any], keys: dict[str, Any], said: str) -> None:
    (finding,) = told(project, known(**encoder), **keys)
    assert (finding.status, finding.code) == ("fail", "D08")
    assert said in finding.text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"field_of_view_deg": 8.0}, ["8 degrees (here 4)"]),
        ({"response_unit": "deltaF/F"}, ["responses in deltaF/F (here spikes)"]),
        ({"field_of_view_deg": 8.0, "response_unit": "deltaF/F"}, ["8 degrees (here 4) and responses in deltaF/F"]),
        ({}, []),
    ],
)
def test_another_recording_of_another_kind_is_worth_a_word(
    project: Project, changes: dict[str, Any], said: list[str]
) -> None:
    ok, *notes = told(project, known(**changes))
    assert ok.status == "ok"
    assert [note.status for note in notes] == ["note"] * len(said)
    assert all(words in note.text for words, note in zip(said, notes, strict=True))


def test_a_fit_refuses_sites_of_images_of_another_size() -> None:
    spec, sites = ReadoutSpec("population"), known(64)
    assert len(known_readouts(sites, spec, (LAYER,), size=(64, 64))) == 2
    with pytest.raises(NoEarlierNetworks, match="64 x 64 pixels; this fit has 128 x 128"):
        known_readouts(sites, spec, (LAYER,), size=(128, 128))
    with pytest.raises(NoEarlierNetworks, match=r"pool = 14 .* this fit pools to 5"):
        known_readouts(sites, replace(spec, pool=5), (LAYER,), size=(64, 64))
