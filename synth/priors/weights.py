"""Weights as files of tensors: read without running any code, freed of a wrapper's prefix, refused where not finite."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

__all__ = ["check_finite", "check_stored", "prefix_of", "read_tensors", "without_wrappers"]

WRAPPERS = ("_orig_mod.", "module.")  # of torch.compile, and of DataParallel and DDP
COUNTERS = ("num_batches_tracked", "position_ids")  # integers that are no weights
NESTED = ("state_dict", "model_state_dict", "model", "params")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file, or of a state dict in any other.

    Raises
    ------
    ValueError
        A file that is cut or of another kind, or one that holds more than names and tensors, or quantised weights.
    """
    state: Any
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = dict(load_file(path))
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers raise errors of many kinds
        raise ValueError(
            f"{path} cannot be read as tensors alone ({_first_line(error)}). "
            "An incomplete copy: copy it again, and compare its size. Files that hold Python objects are not opened, "
            "since that could run any code: save the state dict, or convert it to safetensors"
        ) from error
    for key in NESTED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} does not hold a state dict; expected names and tensors")
    _check_coded(path, state)
    return {str(name): value for name, value in state.items()}


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return "".join(c if c.isprintable() else "?" for c in lines[0])


def check_stored(path: Path) -> None:
    """Refuse a file of tensors of which one does not hold weights themselves, such as integers without their scale.

    Raises
    ------
    ValueError
        Names the first.
    """
    if path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                stored = file.get_slice(name)
                if stored.get_dtype()[0] not in "FB" or stored.get_dtype() == "BOOL":
                    _check_coded(path, {name: file.get_tensor(name)})
    elif path.suffix == ".bin":
        _check_coded(path, torch.load(path, map_location="cpu", weights_only=True))


def _check_coded(path: Path, state: Mapping[str, Tensor]) -> None:
    for name, value in state.items():
        plain = value.layout == torch.strided and not (value.is_meta or value.is_quantized)
        if not (plain and (value.is_floating_point() or str(name).endswith(COUNTERS))):
            held = str(value.dtype).removeprefix("torch.") if plain else "no plain numbers"
            raise ValueError(
                f"{path} holds {held} in {name}; expected floating-point weights. Likely cause: a quantised export, "
                "whose scales are kept elsewhere, or one of weights that were not loaded; save them in float32"
            )


def prefix_of(found: Iterable[str], wanted: Iterable[str]) -> str:
    """What stands before every `wanted` name among the `found` ones, as a wrapper puts it; "" where nothing does.

    A name that ends in two ways gives no prefix.
    """
    found, wanted = set(found), list(wanted)
    if not wanted:
        return ""
    prefixes = {name[: -len(wanted[0])] for name in found if name.endswith("." + wanted[0])}
    fitting = [p for p in prefixes if all(p + name in found for name in wanted)]
    return fitting[0] if len(fitting) == 1 else ""


def without_wrappers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors without the prefixes of `torch.compile`, DataParallel and DDP, where all names have them."""
    plain = dict(state)
    while wrapper := next((w for w in WRAPPERS if all(name.startswith(w) for name in plain)), None):
        plain = {name.removeprefix(wrapper): value for name, value in plain.items()}
    return plain


def check_finite(tensors: Iterable[tuple[str, Tensor]], whose: str, cure: str) -> None:
    """Refuse NaN and infinity among named tensors of `whose` network.

    Raises
    ------
    ValueError
        Names the first; `cure` ends the message.
    """
    for name, value in tensors:
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise ValueError(f"{whose} holds NaN or infinity in {name}; expected finite weights. {cure}")
