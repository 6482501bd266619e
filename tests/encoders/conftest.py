"""A simulated recording and the pair of encoders fitted to it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.encoders.helpers.simulated import Simulated, simulate


@pytest.fixture(scope="session")
def recording() -> Simulated:
    return simulate()


@pytest.fixture(scope="session")
def pair(recording: Simulated) -> Any:
    return recording.fit()
