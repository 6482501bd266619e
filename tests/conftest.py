"""The trained networks of the packages are built once in a process; every caller gets a copy of its own."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from typing import Any

import pytest


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Once a test has imported the networks, later ones have them copied: an import here would slow the light tests."""
    networks = sys.modules.get("encoders.backbones.networks")
    if networks is not None and not isinstance(networks.build_offline, BuiltOnce):
        networks.build_offline = BuiltOnce(networks.build_offline)


class BuiltOnce:
    """`encoders.backbones.offline.build_offline`, which reads, checks and loads trained weights once per network.

    Random weights are drawn each time. Where a test puts another file in the place of the package's, that one is read.
    """

    def __init__(self, build: Any) -> None:
        self.build, self.built = build, {}

    def __call__(self, name: str, pretrained: bool) -> tuple[Any, Sequence[float], Sequence[float]]:
        from encoders.backbones import offline

        if not pretrained:
            return self.build(name, pretrained)
        key = (name, offline._package_file)
        if key not in self.built:
            self.built[key] = self.build(name, pretrained)
        network, mean, sd = self.built[key]
        return copy.deepcopy(network), mean, sd
