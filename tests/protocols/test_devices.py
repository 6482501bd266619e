"""Names of devices: those that torch can use here are taken, all others refused with the list."""

from __future__ import annotations

import pytest
import torch

from protocols.devices import available_devices, checked_device


@pytest.mark.parametrize("name", ["cdua", "gpu", "meta", "", "cuda:", "cpu:3", "cuda:4096", "Cpu", "cpu "])
def test_another_name_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected one of those that torch can use here: cpu.*Fix: "):
        checked_device(name)


def test_every_name_of_the_list_is_one_that_torch_computes_on() -> None:
    for name in available_devices():
        assert checked_device(name) == name
        assert float(torch.ones(2, device=name).sum()) == 2


def test_the_list_follows_what_torch_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert {"cpu", "cuda", "cuda:0", "cuda:1"} <= set(available_devices())
    assert checked_device("cuda:1") == "cuda:1"
    with pytest.raises(ValueError, match="cuda:0, cuda:1"):
        checked_device("cuda:2")
