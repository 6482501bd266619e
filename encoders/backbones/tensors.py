"""Named tensors of networks: their hash, new values for some of them, and the message for an unknown name."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import socket
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn


def hash_tensors(tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the names, dtypes, shapes and bytes of `tensors`, in order of name."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


@torch.no_grad()
def copy_parameters(tensors: Mapping[str, Tensor], network: nn.Module, label: str) -> None:
    """Write `tensors` into the parameters of `network` that they name; `label` names the network in errors.

    Raises
    ------
    ValueError
        If a name is unknown, or a tensor of another shape or not finite.
    """
    parameters = dict(network.named_parameters())
    for name, tensor in tensors.items():
        if name not in parameters:
            raise ValueError(unknown_name(f"parameter of {label}", name, list(parameters)))
        if tensor.shape != parameters[name].shape or not bool(torch.isfinite(tensor).all()):
            raise ValueError(
                f"parameter {name!r}: found shape {tuple(tensor.shape)}, expected {tuple(parameters[name].shape)} and "
                "finite numbers. Likely cause: tensors of another network, or a fit that diverged. Fix: adapt the "
                "backbone that they were made with, with a smaller learning rate"
            )
        parameters[name].copy_(tensor)


def unknown_name(what: str, name: str, known: list[str]) -> str:
    """Message that `name` is not among `known`, with the nearest of these."""
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.3)
    hint = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known[:8])} ..."
    return f"unknown {what}: {name!r}; {hint}"


def mark() -> str:
    """What ends the names of files that this process is writing: the machine in six digits, and its number there."""
    return f"tmp-{hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]}-{os.getpid()}"


def save_tensors(tensors: dict[str, Tensor], path: Path, *, metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file, not atomically.

    Raises
    ------
    OSError
        The disk is full, or refuses.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(tensors, path, metadata=metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
