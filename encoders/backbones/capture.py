"""Features of named layers by forward hooks; the network stops after the last of them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class _Stop(Exception):
    """Raised by the hook of the last named layer, to stop the forward pass."""


class Capture:
    """Forward hooks that keep the first output of every layer of `modules` and stop the pass when all are there."""

    def __init__(self, modules: dict[str, nn.Module]) -> None:
        self.modules = modules
        self.features: dict[str, Tensor] = {}

    def run(self, network: nn.Module, images: Tensor) -> dict[str, Tensor]:
        """Features of every layer, in the order of `modules`; hooks are removed even after an error."""
        handles = [module.register_forward_hook(self._hook(name)) for name, module in self.modules.items()]
        try:
            network(images)
        except _Stop:
            pass
        finally:
            for handle in handles:
                handle.remove()
        missing = [name for name in self.modules if name not in self.features]
        if missing:
            raise ValueError(f"the network never called layer {missing[0]!r}; name a module that its forward pass uses")
        return {name: self.features[name] for name in self.modules}

    def _hook(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if name in self.features:
                return
            if not isinstance(output, Tensor):
                raise ValueError(
                    f"layer {name!r} ({type(module).__name__}) gives a {type(output).__name__}, expected one tensor; "
                    "name a layer inside or after it"
                )
            if len(self.features) + 1 == len(self.modules):
                self.features[name] = output
                raise _Stop
            self.features[name] = output.clone()  # later layers may work in place

        return hook
