"""The files of a project that has run to its end are valid by their schemas (docs/schemas)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.protocols.helpers.looped_project import first_round

jsonschema = pytest.importorskip("jsonschema")
from scripts.handbook.files import seen  # noqa: E402
from scripts.handbook.schemas import SCHEMAS, schema_text  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("loop")]
PLACES = {
    "project": "project.toml",
    "key": "sessions/*/round_*/sealed/key.csv",
    "sites": "sessions/*/round_*/sealed/sites.csv",
    "order": "sessions/*/round_*/outbox/order.csv",
    "manifest": "sessions/*/round_*/outbox/manifest.json",
    "responses": "sessions/*/round_*/inbox/responses.h5",
    "ingest": "sessions/*/round_*/ingest.json",
    "evaluation": "sessions/*/round_*/evaluation.json",
    "batch": "sessions/*/round_*/sealed/controllers.h5",
}


def test_every_schema_has_its_files() -> None:
    assert list(PLACES) == list(SCHEMAS)


@pytest.mark.parametrize("name", PLACES)
def test_the_files_of_a_finished_project_are_valid(finished: Path, name: str) -> None:
    found = sorted((finished / "project").glob(PLACES[name]))
    assert found
    assert first_round(finished).folder in {parent for path in found for parent in path.parents} or name == "project"
    validator = jsonschema.Draft202012Validator(json.loads(schema_text(name)))
    for path in found:
        objects = list(seen(path))
        assert objects or name == "sites"  # a baseline round has frozen no sites
        for thing in objects:
            validator.validate(thing)
