"""Names of the devices to compute on: which ones torch can use here, and whether a given name is one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["available_devices", "checked_device", "one_thread"]


def available_devices() -> list[str]:
    """The names that a device may have here: "cpu", then "cuda", "cuda:0" ... and "mps" where torch can use them."""
    import torch

    found = ["cpu"]
    if torch.cuda.is_available():
        found += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def checked_device(name: str) -> str:
    """`name`, if torch can compute on a device of that name here; "cpu" is taken without loading torch.

    Raises
    ------
    ValueError
        Otherwise, with the names that can be given and the likely cause.
    """
    if name == "cpu":
        return name
    here = available_devices()
    if name in here:
        return name
    if name.partition(":")[0] in ("cuda", "mps"):
        cause = "this computer has no such device, its driver is missing, or torch was installed without support for it"
    else:
        cause = "a slip of the pen; graphics cards of NVIDIA are named cuda, cuda:0, cuda:1 ..."
    raise ValueError(
        f"found the device {name!r}; expected one of those that torch can use here: {', '.join(here)}. "
        f"Likely cause: {cause}. Fix: give one of the names above, or leave the option out to compute on the CPU"
    )


@contextmanager
def one_thread(wanted: bool = True) -> Iterator[None]:
    """Let torch compute with one thread inside this block, where `wanted`; sums then do not depend on the cores."""
    if not wanted:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
