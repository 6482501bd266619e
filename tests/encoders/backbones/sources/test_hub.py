"""Trained weights by name where the hub is out of reach: quickly refused, with the file and the way."""

from __future__ import annotations

import io
import time
import urllib.error

import pytest
import torch

from encoders.backbones import backbone
from encoders.backbones.networks import build_network
from encoders.backbones.sources import hub

NAMES = {
    "timm:resnet18": "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors",
    "torchvision:resnet18": "https://download.pytorch.org/models/resnet18-f37072fd.pth",
}


@pytest.fixture
def cut_off(monkeypatch, tmp_path):
    """No network, empty caches; gives the list of addresses that were asked."""
    import huggingface_hub

    asked = []

    def refuse(request, timeout):
        asked.append(request.full_url)
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *args, **kwargs: None)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return asked


@pytest.mark.parametrize("uri", sorted(NAMES))
def test_the_file_to_fetch_and_the_way_are_named(uri, cut_off):
    with pytest.raises(ValueError, match="could not be fetched") as caught:
        backbone(uri, ["layer1"])
    assert cut_off == [NAMES[uri]]
    for part in (NAMES[uri], "weights=FILE", 'weights = "FILE"', "offline:efficientnet_lite0"):
        assert part in str(caught.value)


def test_a_hub_that_never_answers_is_given_up(cut_off, monkeypatch):
    monkeypatch.setattr(hub, "PATIENCE", 0.2)

    def wait(*args, **kwargs):
        time.sleep(2)
        raise urllib.error.URLError("late")

    monkeypatch.setattr("urllib.request.urlopen", wait)
    began = time.monotonic()
    with pytest.raises(ValueError, match="no answer in"):
        hub.torchvision_ready("resnet18", NAMES["torchvision:resnet18"])
    assert time.monotonic() - began < 2


def test_a_download_that_breaks_off_is_told_as_such(cut_off, monkeypatch):
    monkeypatch.setattr("urllib.request.urlopen", lambda *args, **kwargs: io.BytesIO())

    def fetch(*args, **kwargs):
        raise ConnectionResetError("reset by peer")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", fetch)
    with pytest.raises(ValueError, match=r"ConnectionResetError: reset by peer.*Fix: fetch https"):
        backbone("torchvision:resnet18", ["layer1"])


def test_cached_weights_are_found_without_a_network(cut_off, monkeypatch, tmp_path):
    import huggingface_hub
    from safetensors.torch import save_file

    uri = "timm:test_resnet"
    save_file(build_network(uri, "random", 3)[0].state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: str(tmp_path / "model.safetensors"))
    found = backbone(uri, ["layer1"])
    assert found.weights_sha256 == backbone(uri, ["layer1"], weights="random", seed=3).weights_sha256
    assert cut_off == []
