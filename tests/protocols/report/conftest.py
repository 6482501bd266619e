"""One evaluated round, made once for the tests of its page, which do not change it."""

from __future__ import annotations

import pytest

from protocols.loop import evaluate_round
from protocols.project.folder import Project
from protocols.report.view import RoundView
from tests.protocols.helpers.reported_project import make, settings


@pytest.fixture(scope="package")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = make(tmp_path_factory.mktemp("reported") / "p", settings().to_dict())
    evaluate_round(made, made.round(1))
    return made


@pytest.fixture(scope="package")
def view(project: Project) -> RoundView:
    return RoundView.load(project, project.round(1))
