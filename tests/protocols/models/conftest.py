"""A small project with a recorded baseline, shared by the tests of refits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.protocols.helpers.refit_project import Subject


@pytest.fixture(scope="session")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Subject]:
    """See `refit_project.make`; made once, so tests that want it carry ``xdist_group("refit")`` and change only copies of it."""
    from tests.protocols.helpers.refit_project import make

    return make(tmp_path_factory.mktemp("refit"))
