"""Every package that stimsynth needs is named in docs/licences.md, under a licence of the allowed list."""

from __future__ import annotations

import importlib.util
import subprocess
import tomllib
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "scripts" / "audit.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_is_named_under_an_allowed_licence(audit):
    assert audit.licence_problems() == []
    assert len(audit.listed()) > 40


def test_every_requirement_of_the_project_is_on_the_page(audit):
    """Whether it is installed here or not."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *(n for e in audit.EXTRAS for n in project["optional-dependencies"][e])]
    assert {Requirement(line).name.lower() for line in asked} <= audit.named()


def test_every_extra_that_users_install_is_looked_at(audit):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    of_developers, joined = {"dev", "docs", "bench", "mutation", "peers"}, {"formats", "diffusion"}
    assert set(extras) == {*audit.EXTRAS, *of_developers, *joined}
    assert extras["formats"] == ["stimsynth[nwb,brainio,neo,bids,tables]"]
    assert extras["diffusion"] == []


def test_a_package_that_is_not_installed_is_told(audit, monkeypatch):
    absent: list[str] = []
    assert set(audit.closure(["numpy", "no-such-package-at-all"], absent)) == {"numpy"}
    assert absent == ["no-such-package-at-all"]
    monkeypatch.setattr(audit, "unseen", lambda: ["numpy"])
    assert audit.licence_problems() == ["numpy is not installed, so that its licence was not looked at"]


@pytest.mark.parametrize(
    ("licence", "wrong"),
    [
        ("GPL-3.0-or-later", ["GPL-3.0-or-later"]),
        ("BSD-3-Clause AND LGPL-2.1", ["LGPL-2.1"]),
        ("Apache-2.0 OR GPL-2.0", []),
        ("MPL-2.0 AND MIT", []),
        ("Other/Proprietary License", ["Other/Proprietary License"]),
        ("Mozilla Public License 2.0 (MPL 2.0)", []),
    ],
)
def test_what_is_allowed(audit, licence, wrong):
    assert audit.kinds_of(licence)[1] == wrong


def test_a_package_without_a_licence_or_off_the_page_is_told(audit, monkeypatch):
    monkeypatch.setattr(
        audit, "listed", lambda: {"numpy": ("", "GPL-3.0"), "unheard-of": ("", "MIT"), "torch": ("", "")}
    )
    monkeypatch.setattr(audit, "unseen", lambda: [])
    told = audit.licence_problems()
    assert len(told) == 3
    assert "GPL-3.0" in told[0]
    assert "unheard-of" in told[1]


@pytest.mark.parametrize(
    ("said", "returned", "code", "words"),
    [
        ("No known vulnerabilities found", 0, 0, "no known vulnerability"),
        ("Found 2 known vulnerabilities in 1 package", 1, 1, "Found 2"),
        ("ConnectionError: no such host", 1, 0, "NOT LOOKED UP"),
        (
            "No known vulnerabilities found\nidna: Dependency not found and could not be audited: idna (3.6)",
            0,
            0,
            "NOT LOOKED UP",
        ),
    ],
)
def test_a_database_that_cannot_be_reached_is_told_and_fails_nothing(audit, monkeypatch, said, returned, code, words):
    monkeypatch.setattr(audit, "find_spec", lambda name: object())
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: SimpleNamespace(stdout=said, stderr="", returncode=returned))
    found, text = audit.vulnerabilities()
    assert (found, words in text) == (code, True)


def test_where_pip_audit_is_missing_it_is_told(audit, monkeypatch):
    monkeypatch.setattr(audit, "find_spec", lambda name: None)
    assert audit.vulnerabilities()[1].startswith("NOT LOOKED UP")
