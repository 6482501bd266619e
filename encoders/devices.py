"""The device that a caller names: checked once at the door, before anything is computed."""

from __future__ import annotations

import torch


def checked_device(device: torch.device | str) -> torch.device | str:
    """`device`, if torch can compute on it here.

    Parameters
    ----------
    device : torch.device or str
        "cpu", "cuda", "cuda:1", "mps" ...

    Raises
    ------
    ValueError
        If there is no such device, with those that there are.
    """
    try:
        if torch.ones(1, device=device).item() == 1:
            return device
    except (RuntimeError, AssertionError, NotImplementedError, TypeError):  # torch has one error per kind of device
        pass
    here = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    here += ["mps"] if torch.backends.mps.is_available() else []
    raise ValueError(
        f"device {str(device)!r}; expected one of those that torch can use here: {', '.join(here)}. Likely cause: a "
        "slip of the pen, no such device in this computer, or no driver for it. Fix: give one of the names above"
    )
