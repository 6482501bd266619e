"""One small finished project for all tests of this folder; those that change it work on a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protocols.project.folder import Project
from tests.protocols.helpers.finished_project import make


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Round 0 and the evaluated round 1; not to be changed."""
    return make(tmp_path_factory.mktemp("shared") / "small")


@pytest.fixture
def changed(small: Project, tmp_path: Path) -> Project:
    """A copy that a test may change."""
    return Project(Path(shutil.copytree(small.folder, tmp_path / "project")))
