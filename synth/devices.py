"""The devices of this machine by their names."""

from __future__ import annotations

import difflib

import torch

__all__ = ["device_named"]


def device_named(device: torch.device | str | int) -> torch.device:
    """The device of a name, such as "cpu", "cuda" or "cuda:1".

    Raises
    ------
    ValueError
        No device of that name, or none that this machine has; the message lists those that are there.
    """
    known = _present()
    if isinstance(device, str | int | torch.device) and not isinstance(device, bool):
        try:
            place = torch.device(device)
        except (RuntimeError, ValueError, TypeError, IndexError):
            pass
        else:
            if place.type == "cpu":
                return torch.device("cpu")
            if str(place) in known or (place.index is None and f"{place.type}:0" in known):
                return place
    kinds = sorted({name.partition(":")[0] for name in known} | {"cpu", "cuda", "mps"})
    asked = str(device).lower().partition(":")[0]
    near = ["cuda"] if asked in ("gpu", "nvidia") else difflib.get_close_matches(asked, kinds, n=1)
    meant = f" (did you mean {near[0]!r}?)" if near and asked != near[0] else ""
    driver = "" if len(known) > 1 else ". No accelerator is seen: its driver, or a torch built for it, may be missing"
    raise ValueError(f"device {device!r}{meant} is not here; expected one of {', '.join(known)}{driver}")


def _present() -> list[str]:
    names = ["cpu"]
    if torch.cuda.is_available():
        names += [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names += ["mps", "mps:0"]
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        names += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    return names
