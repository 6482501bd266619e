"""What is wrong with the photographs and the response window of a project, in a few sentences before work begins."""

from __future__ import annotations

from protocols.project.folder import Project

from .data import photographs, windows
from .findings import collected

__all__ = ["warnings_before"]


def warnings_before(project: Project) -> list[str]:
    """What `check` says of photographs and windows that is not well, one sentence each; empty where all is well."""
    if not (project.data / "natural.csv").is_file():
        return []
    project = project.for_stage()
    found = [*collected("photographs", photographs, project), *collected("windows", windows, project)]
    words = {"note": "warning", "fail": "warning, and refused later"}
    return [f"{words[f.status]}: {f.text}" for f in found if f.status in words]
