"""A device that every machine has: torch's "meta" device, whose tensors have a shape and no numbers.

Operations that mix it with the CPU fail, as they do on a GPU. Inside `elsewhere()`, what comes back to the CPU is random
numbers, and a question to a number is answered with 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

NUMBERS = (Tensor.item, Tensor.__bool__, Tensor.__float__, Tensor.__int__)


class _Elsewhere(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        first = args[0] if args else None
        if isinstance(first, Tensor) and first.is_meta:
            targets = [str(a) for a in (*args[1:], *kwargs.values()) if isinstance(a, str | torch.device)]
            if func is Tensor.cpu or (func is Tensor.to and targets == ["cpu"]):
                dtypes = [a for a in (*args[1:], *kwargs.values()) if isinstance(a, torch.dtype)]
                made = torch.rand(first.shape, generator=torch.Generator().manual_seed(0))
                return made.to((dtypes or [first.dtype])[0])
            if func in NUMBERS:
                return False if func is Tensor.__bool__ else 0
        return func(*args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """A device other than the CPU."""
    with _Elsewhere():
        yield torch.device("meta")


def places(module: torch.nn.Module) -> set[str]:
    """Where the parameters and buffers of a module are."""
    return {tensor.device.type for tensor in (*module.parameters(), *module.buffers())}
