"""A small project to serve."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from protocols.project.folder import Project
from tests.protocols.helpers import decided_project


@pytest.fixture(scope="session")
def served_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; see `decided_project.make`."""
    return decided_project.make(tmp_path_factory.mktemp("served") / "lab", 3, hostile=True).folder


@pytest.fixture
def lab(served_source: Path, tmp_path: Path) -> Project:
    """A copy to change."""
    shutil.copytree(served_source, tmp_path / "lab")
    return Project.open(tmp_path / "lab")


@pytest.fixture(scope="session")
def still(served_source: Path) -> Project:
    """The project itself, which tests leave as it is."""
    return Project.open(served_source)
