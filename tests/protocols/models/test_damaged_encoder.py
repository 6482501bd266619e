"""Damaged and forged files of an encoder: every command says which file it is, none ends in a traceback."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoders import Encoder, EncoderInfo, FactorisedReadout, backbone
from encoders.storage import fingerprint_of, read_files
from protocols.check.findings import collected
from protocols.check.networks import encoder as look_at_encoder
from protocols.errors import DataError
from protocols.models.pair import load_encoder, load_pair
from protocols.project.fitted import fitted_for, write_fitted
from protocols.project.folder import Project
from tests.protocols.helpers.checked_project import DISPLAY, SITES, make
from tests.protocols.helpers.commands import stimsynth

LAYER = "features.3"


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a small random encoder, which is its own validator; not to be changed."""
    project = make(tmp_path_factory.mktemp("damaged") / "lab")
    network = backbone("torchvision:squeezenet1_1", [LAYER], weights="random", seed=1)
    with torch.no_grad():
        shape = tuple(network(torch.zeros(1, *DISPLAY.shape))[LAYER].shape[1:])
    info = EncoderInfo(
        site_ids=SITES, target_ids=SITES[:2], response_unit="spikes", image_shape=DISPLAY.shape,
        field_of_view_deg=DISPLAY.size_deg, background=DISPLAY.background, colour=DISPLAY.colour,
        scores={"reliability": [0.9] * len(SITES)}, settings={"layers": [LAYER]},
    )  # fmt: skip
    readout = FactorisedReadout({LAYER: shape}, len(SITES))
    ones = torch.ones(len(SITES))
    name = Encoder(network, readout, info, natural_mean=ones, natural_sd=2 * ones).save(project.fitted).name
    sites = [{"site_id": s, "eligible_fit": True} for s in SITES]
    write_fitted(
        project.fitted, 1, {"round": 1, "encoder": name, "validator": name, "rounds": [], "report": {"sites": sites}}
    )
    return project


def folder_of(project: Project) -> Path:
    record = fitted_for(project.fitted, 1)
    assert record is not None
    return project.fitted / record.encoder


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every key and entry of a JSON value."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield (*at, key)
        yield from places(inner, (*at, key))


OTHER = st.sampled_from([None, [], {}, "x", 3, -1.5, True, ["x"], {"x": 1}, "../../etc", "timm:resnet50", 1e300])
GONE = object()


def changed(record: Any, place: tuple[Any, ...], value: Any) -> Any:
    record = copy.deepcopy(record)
    inner = record
    for key in place[:-1]:
        inner = inner[key]
    if value is GONE:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return record


def test_the_untouched_encoder_is_taken(fitted: Project) -> None:
    assert load_pair(fitted, 1)[0].site_ids == SITES
    assert [f.status for f in collected("encoder", look_at_encoder, fitted)] == ["ok", "ok"]


@settings(max_examples=35, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_changed_description_is_refused_by_its_name(fitted: Project, data: st.DataObject) -> None:
    """Any key of encoder.json dropped or replaced, at any depth; half of the time with a matching fingerprint."""
    path = folder_of(fitted) / "encoder.json"
    before = path.read_bytes()
    record = json.loads(before)
    place = data.draw(st.sampled_from(sorted(places(record), key=str)))
    value = data.draw(st.just(GONE) | OTHER)
    forged = data.draw(st.booleans())
    new = changed(record, place, value)
    if forged and place != ("fingerprint",):
        _, tensors = read_files(path.parent)
        try:
            description = {k: v for k, v in new.items() if k not in ("schema", "fingerprint")}
            new["fingerprint"] = fingerprint_of(description, tensors)
        except (KeyError, TypeError, AttributeError, ValueError):
            forged = False
    path.write_text(json.dumps(new))
    refusal = None
    try:
        load_encoder(fitted, path.parent.name)
    except DataError as error:
        refusal = error
        found = collected("encoder", look_at_encoder, fitted)
    finally:
        path.write_bytes(before)
    if refusal is None:
        assert forged or new == record, "the changed description was taken"
    else:
        assert (refusal.code, path.parent.name in str(refusal)) == ("S07", True)
        assert [(f.status, f.code) for f in found] == [("fail", "S07")]


@pytest.mark.parametrize(
    "text", ["[]", "null", "3", '"x"', "{}", "{", "", "\x00", '{"schema": "encoder/2"}', "[" * 100_000]
)
def test_another_document_in_its_place_is_told_by_every_command(
    fitted: Project, tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project = Project.open(shutil.copytree(fitted.folder, tmp_path / "lab"))
    (folder_of(project) / "encoder.json").write_text(text)
    assert stimsynth(capsys, "status", project.folder)[0] == 0
    code, _, told = stimsynth(capsys, "generate", project.folder, "--round", 1)
    assert (code, "S07" in told, "encoder.json" in told) == (3, True, True), told
    found = collected("encoder", look_at_encoder, project)
    assert [f.code for f in found] == ["S07"]


@pytest.mark.parametrize("name", ["encoder.json", "encoder.safetensors"])
@pytest.mark.parametrize("keep", [0, 7, 200])
def test_the_file_that_is_cut_is_named(fitted: Project, tmp_path: Path, name: str, keep: int) -> None:
    project = Project.open(shutil.copytree(fitted.folder, tmp_path / "lab"))
    path = folder_of(project) / name
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=rf"S07.*{name}: cannot be read"):
        load_pair(project, 1)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_record_of_a_fit_ends_no_command_in_a_traceback(
    fitted: Project, data: st.DataObject, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any key of fitted/for_round_01.json dropped or replaced: a coded refusal, or an answer."""
    path = fitted.fitted / "for_round_01.json"
    before = path.read_bytes()
    record = json.loads(before)
    place = data.draw(st.sampled_from(sorted(places(record), key=str)))
    path.write_text(json.dumps(changed(record, place, data.draw(st.just(GONE) | OTHER))))
    try:
        code, out, err = stimsynth(capsys, "status", fitted.folder)
        assert code == 0 or "error[" in err, (code, out, err)
        for finding in collected("encoder", look_at_encoder, fitted):
            assert finding.status == "ok" or finding.code in ("S06", "S07", "F02"), finding
    finally:
        path.write_bytes(before)
