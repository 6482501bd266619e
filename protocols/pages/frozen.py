"""All views of a project in one self-contained page: no server, no network, thumbnails in place of images."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from protocols.arrays import Pixels
from protocols.disk.drawing import thumbnail
from protocols.disk.files import write_text
from protocols.errors import DataError
from protocols.packages import version
from protocols.progress import counted
from protocols.project.folder import Project, utc_now

from .images import image_pixels
from .view import View, nothing
from .views import SCRIPTS, STYLE, VIEWS

__all__ = ["IMAGE_BYTES", "script_json", "static", "write_frozen"]

IMAGE_BYTES = 6_000_000
"""Of the page, for thumbnails."""
SIZES, SAMPLE = (160, 112, 80, 56, 40), 24
"""Longest sides of thumbnails in px, and how many of them are tried at a size."""


def static(name: str) -> str:
    """The text of a script or style that is shipped with the package."""
    return resources.files("protocols").joinpath(f"pages/static/{name}").read_text(encoding="utf-8")


def script_json(value: Any) -> str:
    """JSON that can stand in a ``<script>``: no text of it ends the script or begins a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def write_frozen(project: Project, path: Path, *, plan: bool = True) -> Path:
    """Write the page of a project as it stands now; returns `path`. `plan`: compute what other rounds could find.

    A view that fails over a damaged file says so in its tab; the others are there all the same.
    """
    from jinja2 import Environment

    template = resources.files("protocols").joinpath("pages/frozen.html").read_text(encoding="utf-8")
    title = f"{project.config.project.name}: all views"
    data = {
        name: _built(project, view, frozen=plan or name != "planner") for name, view in counted(VIEWS.items(), "views")
    }
    wanted = dict.fromkeys(image for built in data.values() for image in built.pop("pictures", ()))
    images = _thumbnails(image_pixels(project, wanted), IMAGE_BYTES)
    titles = {view.name: view.title for view in VIEWS.values()}
    page = (
        Environment(autoescape=True)
        .from_string(template)
        .render(
            title=title,
            about=f"State of {utc_now()}, made by stimsynth {version()}. Thumbnails are reduced.",
            style=static(STYLE),
            script="\n".join(static(script) for script in (*SCRIPTS, "frozen.js")),
            data=script_json({"views": list(data), "titles": titles, "data": data}),
            images=script_json(images),
        )
    )
    write_text(path, page)
    return path


def _built(project: Project, view: View, *, frozen: bool) -> dict[str, Any]:
    """The data of a view, or why it cannot be built."""
    try:
        return (view.freeze if frozen and view.freeze else view.build)(project)
    except DataError as error:
        return nothing(str(error))


def _thumbnails(images: dict[str, Pixels], limit: int) -> dict[str, str]:
    """Thumbnails of `images`, as large as a sample of them says that fits; the last are left out where none does."""
    if not images:
        return {}
    names = list(images)
    sample = names[:: max(1, len(names) // SAMPLE)]
    for size in SIZES:
        each = sum(len(thumbnail(images[name], size)) for name in sample) / len(sample)
        if each * len(names) <= limit:
            break
    made: dict[str, str] = {}
    for name in counted(names[: max(1, int(limit / each))], "thumbnails"):
        made[name] = thumbnail(images[name], size)
    return made
