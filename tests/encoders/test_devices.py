"""A device that is not there is refused with the list, before anything is computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders import FitOptions, Recording, compare, fit_encoder
from encoders.devices import checked_device

BAD = ["cdua", "gpu", "meta", "", "cuda:97", "CPU", "cuda 0", "0", "mps:9"]


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(BAD) | st.text(max_size=6).filter(lambda t: not t.startswith(("cpu", "cuda", "mps"))))
def test_another_name_is_refused_with_the_list(name: str) -> None:
    with pytest.raises(ValueError, match=r"(?s)expected one of those that torch can use here: cpu.*Fix: "):
        checked_device(name)


def test_devices_of_torch_are_taken() -> None:
    assert checked_device("cpu") == "cpu"
    assert checked_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.parametrize("name", ["cdua", "meta"])
def test_fits_refuse_it_at_the_door(name: str) -> None:
    pixels, values = np.zeros((2, 16, 16, 1), np.uint8), np.zeros((2, 1))
    recording = Recording(
        pixels=pixels, values=values, image_index=np.arange(2), site_ids=("a",), unit="spikes",
        field_of_view_deg=4.0, background=128, colour="grey",
    )  # fmt: skip
    with pytest.raises(ValueError, match="expected one of those"):
        fit_encoder(recording, FitOptions(), device=name)
    with pytest.raises(ValueError, match="expected one of those"):
        compare([], pixels, values, image_index=np.arange(2), site_ids=("a",), device=name)
