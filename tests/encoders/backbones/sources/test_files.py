"""Files of weights as people have them, and files that are none."""

from __future__ import annotations

import argparse
import collections
import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torchvision import models

from encoders.backbones import backbone
from encoders.backbones.capture import Capture
from encoders.backbones.networks import build_network, renamed_by_torchvision
from encoders.backbones.probe import used_tensors
from encoders.backbones.sources.files import load_weights
from encoders.backbones.tensors import hash_tensors

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.", "network.", "student.")
TABLES = ("state_dict", "model_state_dict", "model", "state_dict_ema", "ema", "network", "params")
HEAD = "classifier."


class Net(nn.Module):
    """Small, with what networks have: a stem, blocks, statistics, a head."""

    def __init__(self, seed=0):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            self.conv_stem, self.bn1 = nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4)
            self.blocks = nn.Sequential(*(nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)) for _ in range(3)))
            self.classifier = nn.Linear(4, 5)
            for tensor in self.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(0.5 + torch.rand(tensor.shape))

    def forward(self, x):
        return self.classifier(self.blocks(self.bn1(self.conv_stem(x))).mean((2, 3)))


def features(network):
    probe = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    return Capture({"layer": network.blocks[1]}).run(network, probe)


def loaded(path):
    """Features of a network that was started otherwise, with the weights of a file, and what was said."""
    network = Net(1).eval()
    notes = load_weights(network, path, lambda: used_tensors(network, lambda: features(network)))
    return features(network)["layer"].detach(), notes, network


STATE = Net(7).state_dict()
EXPECTED = features(Net(7).eval())["layer"].detach()
quickly = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@quickly
@given(
    prefixes=st.lists(st.sampled_from(PREFIXES), max_size=3),
    tables=st.lists(st.sampled_from(TABLES), max_size=2, unique=True),
    head=st.sampled_from(["same", "none", "other", "renamed"]),
    dtype=st.sampled_from([None, torch.float64, torch.float16, torch.bfloat16]),
    form=st.sampled_from(["torch", "numpy", "legacy", "safetensors"]),
    extra=st.booleans(),
)
def test_a_dressed_state_dict_gives_the_same_features(tmp_path, prefixes, tables, head, dtype, form, extra):
    """Prefixes, tables around it, another head or none, other types, numpy arrays, things beside it; as people save."""
    dressed = {k: v for k, v in STATE.items() if head == "same" or not k.startswith(HEAD)}
    if head == "other":
        dressed |= {f"{HEAD}weight": torch.zeros(10, 4), f"{HEAD}bias": torch.zeros(10)}
    if head == "renamed":
        dressed |= {"projector.0.weight": torch.zeros(3, 3)}
    if dtype is not None:
        dressed = {k: v.to(dtype) if v.is_floating_point() else v for k, v in dressed.items()}
    dressed = {"".join(prefixes) + k: v for k, v in dressed.items()}
    path = tmp_path / ("w.safetensors" if form == "safetensors" else "w.pth")
    if form == "safetensors":
        save_file({k: v.contiguous() for k, v in dressed.items()}, path)
    else:
        content = dressed
        if form == "numpy" and dtype is not torch.bfloat16:
            content = {k: v.numpy() for k, v in dressed.items()}
        for table in tables:
            content = {table: content, "epoch": 3}
        if extra:
            content = collections.OrderedDict(content) | {"args": argparse.Namespace(lr=0.1), "lr": np.float64(0.1)}
        torch.save(content, path, _use_new_zipfile_serialization=form != "legacy")
    found, notes, network = loaded(path)
    loose = 0.05 if dtype in (torch.float16, torch.bfloat16) else 1e-6
    torch.testing.assert_close(found, EXPECTED, atol=loose, rtol=loose)
    moved = set(prefixes) - {"_orig_mod."} or (tables and form != "safetensors")
    assert bool(notes) == bool(moved or head != "same" or dtype)
    if dtype in (None, torch.float64) and head == "same":
        assert hash_tensors(network.state_dict()) == hash_tensors(STATE)


@quickly
@given(name=st.sampled_from([n for n in STATE if not n.endswith("num_batches_tracked")]),
       fault=st.sampled_from(["missing", "other", "nan", "inf"]))  # fmt: skip
def test_a_tensor_is_refused_by_name_where_the_layer_needs_it_and_else_not(tmp_path, name, fault):
    """Missing, of another shape, or not finite: which tensors stand before the layer is known from their names."""
    altered = dict(STATE)
    if fault == "missing":
        del altered[name]
    elif fault == "other":
        altered[name] = torch.zeros(*STATE[name].shape, 2)
    else:
        altered[name] = torch.full_like(STATE[name], float(fault))
    torch.save(altered, tmp_path / "w.pth")
    inside = fault == "other" and name.startswith("blocks.")  # another shape in a part that runs: another network
    if name.startswith(("conv_stem.", "bn1.", "blocks.0.", "blocks.1.")) or inside or fault in ("nan", "inf"):
        with pytest.raises(ValueError, match=name):
            loaded(tmp_path / "w.pth")
    else:
        torch.testing.assert_close(loaded(tmp_path / "w.pth")[0], EXPECTED)


def test_a_tensor_that_is_used_unseen_does_not_stay_random(tmp_path):
    """What the file lacks becomes NaN: a use that was not found shows."""
    torch.save({k: v for k, v in STATE.items() if not k.startswith(HEAD)}, tmp_path / "w.pth")
    network = loaded(tmp_path / "w.pth")[2]
    assert torch.isnan(network(torch.rand(1, 3, 32, 32))).all()


def test_averaged_weights_beside_the_plain_ones_are_left_and_said(tmp_path):
    averaged = {k: torch.zeros_like(v) for k, v in STATE.items()}
    for content in (
        {"state_dict_ema": averaged, "state_dict": STATE},
        {f"ema.{k}": v for k, v in averaged.items()} | {f"model.{k}": v for k, v in STATE.items()},
    ):
        torch.save(content, tmp_path / "w.pth")
        found, notes, _ = loaded(tmp_path / "w.pth")
        torch.testing.assert_close(found, EXPECTED)
        assert "averages over training" in " ".join(notes)


def test_student_and_teacher_must_be_told_apart(tmp_path):
    torch.save({"student": STATE, "teacher": {k: v + 1 for k, v in STATE.items()}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"several sets of weights that fit: 'student', 'teacher'.*Fix: save the one"):
        loaded(tmp_path / "w.pth")
    torch.save({"student": STATE, "teacher": dict(STATE)}, tmp_path / "w.pth")
    torch.testing.assert_close(loaded(tmp_path / "w.pth")[0], EXPECTED)


def test_a_deeper_network_of_the_same_family_is_refused(tmp_path):
    torch.save(build_network("timm:resnet34", "random", 0)[0].state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"unknown \(the first: layer1.2"):
        backbone("timm:resnet18", ["layer1"], weights=tmp_path / "w.pth")


def saved(content, **how) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **how)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("readme.txt", "weights inside")
    return buffer.getvalue()


def archive_of_arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **{k: v.numpy() for k, v in STATE.items()})
    return buffer.getvalue()


NONE = {
    "empty.pth": (b"", "is empty"),
    "page.pth": (b"<!DOCTYPE html><html>404</html>", "is a page of text"),
    "error.safetensors": (b'{"error": "not found"}', "is a page of text"),
    "pointer.safetensors": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 5\n", "Git LFS pointer"),
    "packed.tar.gz": (b"\x1f\x8b\x08" + bytes(20), "packed archive"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
    "noise.pth": (b"what is this" * 9, "no file of PyTorch or safetensors"),
    "noise.safetensors": (b"what is this" * 9, "no file of PyTorch or safetensors"),
    "archive.zip": (zipped(), "cut off or damaged"),
    "arrays.npz": (archive_of_arrays(), r"archive of NumPy.*Fix: torch.save"),
    "cut.pth": (saved({"a": torch.zeros(99)})[:-40], "cut off or damaged"),
    "cut_early.pth": (saved({"a": torch.zeros(9)}, _use_new_zipfile_serialization=False)[:30], "cut off or damaged"),
    "network.pth": (saved(torch.nn.Linear(2, 2)), "whole pickled network"),
    "old_network.pth": (saved(torch.nn.Linear(2, 2), _use_new_zipfile_serialization=False), "whole pickled network"),
    "number.pth": (saved(3), "holds a int"),
    "list.pth": (saved([torch.zeros(1)]), "holds a list"),
    "words.pth": (saved({"a": 1}), "holds no tensors by name"),
}


@pytest.mark.parametrize("name", sorted(NONE))
def test_what_is_no_file_of_weights_is_told_for_what_it_is(tmp_path, name):
    content, cause = NONE[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=cause) as caught:
        loaded(tmp_path / name)
    assert name in str(caught.value)
    assert len(str(caught.value)) < 500


CODED = {
    "int8": lambda t: (100 * t).to(torch.int8),
    "uint8": lambda t: (100 * t).to(torch.uint8),
    "int32": lambda t: (100 * t).int(),
    "bool": lambda t: t > 0,
    "complex64": lambda t: t.to(torch.complex64),
    "no values": lambda t: t.to("meta"),
    "sparse or quantised": lambda t: t.to_sparse(),
    "quantised": lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8),
}


@quickly
@given(
    kind=st.sampled_from(sorted(CODED)),
    names=st.lists(st.sampled_from([n for n, t in STATE.items() if t.is_floating_point()]), min_size=1, unique=True),
    table=st.sampled_from(["", "model", "twice"]),
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_that_do_not_hold_the_weights_themselves_are_refused(tmp_path, kind, names, table):
    """Integers without their scale, complex, sparse or quantised numbers, tensors without values."""
    coded = {k: CODED[kind](v) if k in names else v for k, v in STATE.items()}
    content = {"": coded, "model": {"model": coded}, "twice": {"a": coded, "b": dict(coded)}}[table]
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=rf"several sets|tensors hold .*{kind}.*Fix: save"):
        loaded(tmp_path / "w.pth")


def densenet():
    return models.DenseNet(growth_rate=2, block_config=(2, 1), num_init_features=4, bn_size=1, num_classes=3)


def transformer():
    return models.VisionTransformer(32, 16, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=12, num_classes=3)


@pytest.mark.parametrize("make", [densenet, transformer])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_names_that_torchvision_publishes_are_those_of_its_networks(tmp_path, make, prefix):
    """Its files of DenseNet and of vision transformers have older names, which its own loaders turn into today's."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        published, network = make().eval(), make().eval()
    older = {}
    for name, tensor in published.state_dict().items():
        for now, then in {"norm1.": "norm.1.", "norm2.": "norm.2.", "conv1.": "conv.1.", "conv2.": "conv.2."}.items():
            name = name.replace(now, then) if "denselayer" in name else name
        name = name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2.")
        older[prefix + name] = tensor
    assert not set(older) & set(published.state_dict()) if prefix else set(older) != set(published.state_dict())
    torch.save(older, tmp_path / "w.pth")
    load_weights(network, tmp_path / "w.pth", lambda: (set(network.state_dict()), {""}), rename=renamed_by_torchvision)
    probe = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(probe), published(probe))


def test_a_file_with_the_other_ending_names_the_right_one(tmp_path):
    save_file(STATE, tmp_path / "w.bin")
    torch.save(STATE, tmp_path / "v.safetensors")
    for name, cure in (("w.bin", "w.safetensors"), ("v.safetensors", "v.pth")):
        with pytest.raises(ValueError, match=f"name it {cure}"):
            loaded(tmp_path / name)


def test_no_code_of_a_file_runs(tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    for old in (True, False):
        (tmp_path / "w.pth").write_bytes(saved({"a": Trap()}, _use_new_zipfile_serialization=old))
        with pytest.raises(ValueError, match="no code of a file is ever run"):
            loaded(tmp_path / "w.pth")
    assert not (tmp_path / "ran").exists()
