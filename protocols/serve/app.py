"""The application: the shell page, the views as JSON, images, scripts, and decisions."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Hashable
from importlib import resources
from typing import TYPE_CHECKING, Any

from protocols.errors import UNUSABLE, DataError
from protocols.packages import version

from .board import board, short_status
from .contents import Contents, Page, View
from .decided import decisions, last_sequence, made_stamps, take
from .guard import App, Guard
from .kept import Answer, Kept, Stamp
from .log import log
from .pictures import Pictures
from .stamps import live_stamp, project_stamp

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["OWN_SCRIPTS", "Server", "build_app"]

OWN_SCRIPTS = ("board.js", "log.js", "decisions.js", "shell.js")
"""Of ``protocols/serve/static``, behind those of the views; the last one begins."""
MOST_QUERY = 300
"""Letters of a value of a query."""


class Server:
    """What answers are made from: the views by name, kept answers, images."""

    def __init__(self, contents: Contents) -> None:
        self.contents, self.project = contents, contents.project
        own = [Page("board", "Round", self._board), *contents.views, Page("decisions", "Decisions", self._decisions)]
        self.views: dict[str, View] = {view.name: view for view in [*own, Page("log", "Log", log)]}
        folder = self.project.folder
        self.stamp, live = Stamp(lambda: project_stamp(folder)), Stamp(lambda: live_stamp(folder))
        self.live = Kept(lambda: f"{self.stamp()} {live()}", most=4)
        self.kept = {name: Kept(self.stamp, most=24) for name in self.views}  # a slow view keeps no other waiting
        self.pictures = Pictures(contents)
        self.static = _static(contents)
        self._running: dict[Hashable, asyncio.Task[Answer]] = {}

    def _board(self, _project: Any, **_: str) -> dict[str, Any]:
        return board(self.project, self.contents.status)

    def _decisions(self, _project: Any, **_: str) -> dict[str, Any]:
        return decisions(self.contents, self.project)

    async def shell(self, _: Request) -> Response:
        """The page that holds everything."""
        return _bytes(self.static["/"][0], "text/html; charset=utf-8")

    async def file(self, request: Request) -> Response:
        """A script or a style, which was read when the server began: no name of a request reaches the disk."""
        found = self.static.get(request.path_params["name"])
        if found is None:
            return _problem(404, "no such file")
        return _tagged(request, found[0], hashlib.sha256(found[0]).hexdigest()[:24], kind=found[1])

    async def status(self, request: Request) -> Response:
        """The small record that every page asks for again and again."""
        return await self._kept(request, self.live, key="status", build=self._status)

    async def view(self, request: Request) -> Response:
        """The data of one view."""
        view = self.views.get(request.path_params["name"])
        if view is None:
            return _problem(404, "no such view")
        query = self._query(request)
        kept = self.live if view.name == "board" else self.kept[view.name]

        def build(stamp: str) -> dict[str, Any]:
            about = {
                "stamp": stamp.split()[0],
                "sequence": last_sequence(self.project),
                "made": made_stamps(self.project),
            }
            return about | {"data": view.build(self.project, **query)}

        return await self._kept(request, kept, key=(view.name, *sorted(query.items())), build=build)

    async def image(self, request: Request) -> Response:
        """An image of the project, reduced unless ``full`` is asked for."""
        image, full = request.path_params["id"], "full" in request.query_params
        stamp = await asyncio.to_thread(self.stamp)
        try:
            data, kind = await asyncio.to_thread(self.pictures.get, image, full=full, stamp=stamp)
        except PermissionError as error:
            return _problem(403, str(error))
        except UNUSABLE:
            return _problem(404, "no such image")
        return _tagged(request, data, hashlib.sha256(data).hexdigest()[:24], kind=kind)

    async def decide(self, request: Request) -> Response:
        """A decision that a page asks for."""
        if not self.contents.decisions:
            return _json(403, {"error": "this server shows only: start it with --allow-decisions", "code": ""})
        status, answer = await asyncio.to_thread(take, self.contents, await request.body())
        if status == 200:
            self.stamp.forget()
            self._running.clear()  # who asks from now on does not wait for what was read before
            for kept in (self.live, *self.kept.values()):
                kept.forget()
        return _json(status, answer)

    def _status(self, stamp: str) -> dict[str, Any]:
        found = short_status(self.project, self.contents.status)
        return {"stamp": stamp.split()[0], "live": hashlib.sha256(stamp.encode()).hexdigest()[:24], **found}

    def _query(self, request: Request) -> dict[str, str]:
        """What a view is asked for; which image is which in a hidden round only where the server was told so."""
        pairs = [(k, v[:MOST_QUERY]) for k, v in request.query_params.items() if k.isidentifier() and k != "project"]
        return {k: v for k, v in pairs[:20] if k != "unblind" or self.contents.unblinded}

    async def _kept(
        self, request: Request, kept: Kept, *, key: Hashable, build: Callable[[str], dict[str, Any]]
    ) -> Response:
        """The kept answer: in this thread where it is fresh, else read by one thread for all who wait for it."""
        answer = kept.fresh(key)
        if answer is None:
            task = self._running.get(key)
            if task is None:
                task = asyncio.ensure_future(asyncio.to_thread(kept.get, key, lambda stamp: _built(build, stamp)))
                self._running[key] = task
                task.add_done_callback(lambda done: self._running.get(key) is done and self._running.pop(key))
            answer = await asyncio.shield(task)
        return _tagged(request, answer.data, answer.tag)


def build_app(contents: Contents, *, token: str, names: tuple[str, ...], cookie: str) -> tuple[App, Server]:
    """The guarded application, and what stands behind it.

    Parameters
    ----------
    contents : Contents
    token : str
        That every request must know.
    names : tuple of str
        Under which the server may be asked, beside addresses in digits.
    cookie : str
    """
    from starlette.applications import Starlette
    from starlette.routing import Route

    server = Server(contents)
    routes = [
        Route("/", server.shell),
        Route("/static/{name}", server.file),
        Route("/api/status", server.status),
        Route("/api/decide", server.decide, methods=["POST"]),
        Route("/api/view/{name}", server.view),
        Route("/image/{id:path}", server.image),
    ]
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False  # an address is as it is written, or it is none
    return Guard(app, token=token, names=names, cookie=cookie), server


def _built(build: Callable[[str], dict[str, Any]], stamp: str) -> tuple[bytes, str]:
    """What is answered, and its digest. What is wrong with the project is an answer, too: `error` says it."""
    try:
        value = build(stamp)
    except DataError as error:
        value = {"stamp": stamp, "error": str(error), "code": error.code}
    except UNUSABLE as error:
        words = f"a file of the project cannot be read just now ({type(error).__name__}: {str(error)[:300]})"
        value = {"stamp": stamp, "error": words, "code": ""}
    data = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
    return data, hashlib.sha256(data).hexdigest()[:24]


def _shipped(name: str) -> str:
    """The text of a file of ``protocols/serve/static``."""
    return resources.files("protocols").joinpath(f"serve/static/{name}").read_text(encoding="utf-8")


def _static(contents: Contents) -> dict[str, tuple[bytes, str]]:
    """The files by name, and the shell page under ``/``."""
    from jinja2 import Environment

    scripts = {**contents.scripts, **{name: _shipped(name) for name in OWN_SCRIPTS}}
    styles = {**contents.styles, "serve.css": _shipped("serve.css")}
    template = Environment(autoescape=True).from_string(_shipped("shell.html"))
    views = [(v.name, v.title) for v in (Page("board", "Round", board), *contents.views)]
    page = template.render(
        scripts=list(scripts),
        styles=list(styles),
        views=[*views, ("decisions", "Decisions"), ("log", "Log")],
        version=version(),
        decisions=contents.decisions,
        unblinded=contents.unblinded,
        who=contents.who,
    )
    found = {name: (text.encode(), "text/javascript; charset=utf-8") for name, text in scripts.items()}
    found |= {name: (text.encode(), "text/css; charset=utf-8") for name, text in styles.items()}
    found |= {"icon.svg": (_shipped("icon.svg").encode(), "image/svg+xml")}
    return found | {"/": (page.encode(), "text/html")}


def _bytes(data: bytes, kind: str, *, status: int = 200, tag: str = "") -> Response:
    from starlette.responses import Response

    headers = {"cache-control": "private, no-cache"} | ({"etag": f'"{tag}"'} if tag else {})
    return Response(data, status_code=status, media_type=kind, headers=headers)


def _tagged(request: Request, data: bytes, tag: str, *, kind: str = "application/json") -> Response:
    """The bytes, or 304 where the browser has them."""
    known = [t.strip().removeprefix("W/").strip('"') for t in request.headers.get("if-none-match", "").split(",")]
    if tag in known:
        return _bytes(b"", kind, status=304, tag=tag)
    return _bytes(data, kind, tag=tag)


def _json(status: int, value: dict[str, Any]) -> Response:
    return _bytes(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"), "application/json", status=status)


def _problem(status: int, text: str) -> Response:
    return _json(status, {"error": text, "code": ""})
