"""Encoders whose answer depends on chance, on the other images or on earlier calls, and the places where one hides."""

from __future__ import annotations

import functools
import random
from collections.abc import Callable

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = 6


class By(nn.Module):
    """A module of a function, so that nothing of it can be seen from outside."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(CHANNELS, 2, dropout=0.2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return self.inner(tokens, tokens, tokens, need_weights=False)[0].transpose(1, 2).reshape(x.shape)


class Own(nn.Module):
    """A user's module that asks for its mode, by a helper outside of it."""

    def forward(self, x: Tensor) -> Tensor:
        return _helper(x, self.training)


def _helper(x: Tensor, training: bool) -> Tensor:
    return x * 1.01 if training else x


class Counting(nn.Module):
    """A buffer that every call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


class Functional(nn.Module):
    """Batch statistics by a function, in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))
        self.register_buffer("variance", torch.ones(CHANNELS))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return functional.batch_norm(x, self.mean, self.variance, training=True)


class Persistent(nn.Module):
    """Noise of a generator of its own that goes on from call to call."""

    def __init__(self, library: str) -> None:
        super().__init__()
        self.torch, self.numpy = torch.Generator().manual_seed(1), np.random.default_rng(1)
        self.library = library
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if self.library == "numpy":
            return x + 0.1 * torch.from_numpy(self.numpy.standard_normal(tuple(x.shape))).to(x)
        return x + 0.1 * torch.randn(x.shape, generator=self.torch, dtype=x.dtype)


def _earlier(x: Tensor, memory: list[Tensor]) -> Tensor:
    memory.append(x.detach().mean())
    return x + memory[0] * len(memory) * 0.1


UNSTEADY: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Dropout(0.2).train(),
    "rare dropout": lambda: nn.Dropout2d(1e-4).train(),
    "alpha dropout": lambda: nn.AlphaDropout(0.2).train(),
    "feature alpha dropout": lambda: nn.FeatureAlphaDropout(0.2).train(),
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS).train(),
    "batch norm without statistics": lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False).eval(),
    "instance norm": lambda: nn.InstanceNorm2d(CHANNELS, track_running_stats=True).train(),
    "rrelu": lambda: nn.RReLU().train(),
    "attention": lambda: Attention().train(),
    "stochastic depth": lambda: torchvision.ops.StochasticDepth(0.01, "row").train(),
    "drop block": lambda: torchvision.ops.DropBlock2d(0.1, 1).train(),
    "own": lambda: Own().train(),
    "dropout by a function": lambda: By(lambda x: functional.dropout(x, 0.2)),
    "rare dropout by a function": lambda: By(lambda x: functional.dropout(x, 1e-5)),
    "noise": lambda: By(lambda x: x + 0.05 * torch.randn_like(x)),
    "poisson": lambda: By(lambda x: torch.poisson(x.abs()) + x),
    "gumbel": lambda: By(lambda x: functional.gumbel_softmax(x, dim=1) + x),
    "numpy": lambda: By(lambda x: x + 0.05 * np.random.standard_normal()),  # noqa: NPY002
    "random": lambda: By(lambda x: x + 0.05 * random.random()),
    "own torch generator": lambda: Persistent("torch"),
    "own numpy generator": lambda: Persistent("numpy"),
    "batch mean": lambda: By(lambda x: x - x.mean(0, keepdim=True)),
    "batch maximum": lambda: By(lambda x: x / (1e-3 + x.abs().max())),
    "batch norm by a function": Functional,
    "neighbour": lambda: By(lambda x: x + 0.3 * x.roll(1, 0)),
    "calls": Counting,
    "memory": lambda: By(functools.partial(_earlier, memory=[])),
}
STEADY: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Dropout(0.2).eval(),
    "no dropout": lambda: nn.Dropout(0.0).train(),
    "batch norm": lambda: nn.BatchNorm2d(CHANNELS).eval(),
    "instance norm": lambda: nn.InstanceNorm2d(CHANNELS).train(),
    "group norm": lambda: nn.GroupNorm(2, CHANNELS).train(),
    "rrelu": lambda: nn.RReLU().eval(),
    "attention": lambda: Attention().eval(),
    "stochastic depth": lambda: torchvision.ops.StochasticDepth(0.01, "row").eval(),
    "own": lambda: Own().eval(),
    "convolution in training mode": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).train(),
    "seeded in every call": lambda: By(lambda x: x + 0.1 * torch.randn(x.shape[1:], generator=torch.Generator().manual_seed(3))),
    "fork": lambda: By(_forked),
}  # fmt: skip


def _forked(x: Tensor) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return x + 0.1 * torch.randn(x.shape[1:])


class Net(nn.Module):
    """Convolution, the module in question, a readout of the positions."""

    def __init__(self, inner: Callable[[], nn.Module], seed: int, sites: int = 2) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.first = nn.Conv2d(1, CHANNELS, 5, 3)
            self.inner = inner()
            self.read = nn.Linear(CHANNELS * 4 * 4, sites)

    def forward(self, images: Tensor) -> Tensor:
        return self.read(self.inner(torch.tanh(3 * self.first(images))).flatten(1))


class Holder:
    """An object that is no module, with a list of networks."""

    def __init__(self, net: nn.Module) -> None:
        self.nets = [net]

    def __call__(self, images: Tensor) -> Tensor:
        return self.nets[0](images)

    def answer(self, images: Tensor) -> Tensor:
        return self(images)


class Unregistered(nn.Module):
    """A module whose `eval` does not reach the network in its list."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.nets = [net]
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        return self.nets[0](images)


def _call(net: nn.Module, images: Tensor) -> Tensor:
    return net(images)


HIDING: dict[str, Callable[[nn.Module], Callable[[Tensor], Tensor]]] = {
    "plainly": lambda net: net,
    "sequential": lambda net: nn.Sequential(nn.Identity(), net),
    "lambda": lambda net: lambda images: net(images),
    "partial": lambda net: functools.partial(_call, net),
    "object": Holder,
    "method": lambda net: Holder(net).answer,
    "unregistered": Unregistered,
    "members": lambda net: lambda images: torch.stack([net(images), net(images)]),
}
