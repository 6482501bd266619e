"""One small project for all views' tests; not to be changed."""

from __future__ import annotations

import pytest

from protocols.project.folder import Project
from tests.protocols.helpers import viewed_project


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A baseline and an evaluated round."""
    return viewed_project.make(tmp_path_factory.mktemp("views") / "project")
