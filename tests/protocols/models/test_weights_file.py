"""Weights from a file in the project: they reach the fit, and a project that is copied finds them again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import models

from encoders import Encoder, EncoderInfo, FactorisedReadout, backbone
from encoders.fitting.options import report_settings, resolve
from protocols.errors import DataError
from protocols.models.fit import fit_options
from protocols.models.pair import load_encoder
from protocols.project.config.encoder import EncoderConfig
from protocols.project.folder import Project
from tests.protocols.helpers.checked_project import DISPLAY, SITES, make, set_keys

URI, LAYER = "torchvision:squeezenet1_1", "features.3"


def saved(project: Project, name: str) -> str:
    """An encoder of `project` whose network has the weights of the file `name` in it; returns its folder's name."""
    torch.manual_seed(3)
    path = project.folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(models.squeezenet1_1(weights=None).state_dict(), path)
    network = backbone(URI, [LAYER], weights=path)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(1, *DISPLAY.shape))[LAYER].shape[1:])
    info = EncoderInfo(
        site_ids=SITES, target_ids=SITES, response_unit="spikes", image_shape=DISPLAY.shape,
        field_of_view_deg=DISPLAY.size_deg, background=DISPLAY.background, colour=DISPLAY.colour,
    )  # fmt: skip
    ones = torch.ones(len(SITES))
    readout = FactorisedReadout({LAYER: shape}, len(SITES))
    return Encoder(network, readout, info, natural_mean=ones, natural_sd=2 * ones).save(project.fitted).name


@pytest.mark.parametrize("key", ["weights", "validator_weights"])
def test_a_copied_project_finds_its_weights(tmp_path: Path, key: str) -> None:
    first = make(tmp_path / "first")
    name = saved(first, "nets/mine.pth")
    image = torch.rand(2, *DISPLAY.shape)
    before = load_encoder(first, name)(image)
    copy = Project.open(shutil.copytree(first.folder, tmp_path / "copy"))
    shutil.rmtree(first.folder)
    with pytest.raises(DataError, match=r"S07.*weights.*\[encoder\]"):
        load_encoder(copy, name)
    base = copy.config
    set_keys(copy, {("encoder", "backbone"): URI, ("encoder", key): "nets/mine.pth"}, base)
    torch.testing.assert_close(load_encoder(copy, name)(image), before)
    state = torch.load(copy.folder / "nets" / "mine.pth", weights_only=True)
    torch.save(
        {k: v + 0.01 if v.is_floating_point() else v for k, v in state.items()}, copy.folder / "nets" / "mine.pth"
    )
    with pytest.raises(DataError, match="S07"):  # other weights under the same name
        load_encoder(copy, name)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(["", "a.pth", "nets/b.safetensors"]), st.sampled_from(["", "c.pt", "nets/d.pth"]))
def test_the_keys_reach_the_options_and_the_record(weights: str, judge: str) -> None:
    """Both keys, alone and together: paths in the project for the fit, bare names in the record."""
    folder = Path("project")
    config = EncoderConfig(
        backbone=URI, layers=(LAYER,), weights=weights, validator_weights=judge, validator_layers=("features.6",)
    )
    resolved = resolve(fit_options(config, folder), averages=False, networks_from=None)
    assert resolved.weights == (str(folder / weights) if weights else "pretrained")
    assert resolved.validator_weights == (str(folder / judge) if judge else "")
    record = report_settings(resolved, 0, torch.zeros(0, dtype=torch.bool).numpy())
    assert record["weights"] == (Path(weights).name or "pretrained")
    assert record.get("validator_weights", "") == Path(judge).name


@pytest.mark.parametrize("name", ["../net.pth", "/tmp/net.pth", "~/net.pth", "C:\\net.pth"])
def test_a_path_outside_of_the_project_is_refused(tmp_path: Path, name: str) -> None:
    project = make(tmp_path / "lab")
    set_keys(project, {("encoder", "weights"): name}, project.config)
    with pytest.raises(DataError, match="C05"):
        _ = project.config
