"""A project that is served: requests to the application itself, or to a server in a thread."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from protocols.cli.pages.serve import views
from protocols.project.folder import Project
from protocols.serve.contents import Contents

TOKEN, HOST = "t0ken", "127.0.0.1:8000"


@dataclass
class Answer:
    """What came back."""

    status: int
    data: bytes
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def json(self) -> Any:
        return json.loads(self.data)


def contents(project: Project, **more: Any) -> Contents:
    """All that `stimsynth serve` brings."""
    return Contents(project=project, who="ann", **{**views(), **more})


def application(project: Project, **more: Any) -> Any:
    """The guarded application of a project, and its server."""
    pytest.importorskip("starlette")
    from protocols.serve.app import build_app

    return build_app(contents(project, **more), token=TOKEN, names=("localhost",), cookie="stimsynth_8000")


def request(
    app: Any, path: str, *, method: str = "GET", headers: Iterable[tuple[str, str]] | None = None, body: bytes = b"",
    query: str = "", token: bool = True,
) -> Answer:  # fmt: skip
    """Ask an ASGI application; `path` is what a server hands on after it decoded the address."""
    given = [("host", HOST)] if headers is None else list(headers)
    if token:
        given.append(("x-stimsynth-token", TOKEN))
    if body:
        given += [("content-length", str(len(body))), ("content-type", "application/json")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "path": path, "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query.encode(), "root_path": "", "scheme": "http", "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1),
        "headers": [(n.lower().encode(), v.encode("latin-1", "replace")) for n, v in given],
    }  # fmt: skip
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    start = sent[0]
    data = b"".join(m.get("body", b"") for m in sent[1:])
    return Answer(start["status"], data, {k.decode(): v.decode() for k, v in start["headers"]})


@contextmanager
def serving(project: Project, **more: Any) -> Iterator[tuple[Any, Any]]:
    """A server in a thread; gives its address and the `protocols.serve.app.Server` behind it."""
    pytest.importorskip("uvicorn")
    import uvicorn

    from protocols.serve.app import build_app
    from protocols.serve.start import listen

    address = listen()
    app, behind = build_app(contents(project, **more), token=address.token, names=address.names, cookie=address.cookie)
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none", http="h11"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [address.bound]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield address, behind
    finally:
        server.should_exit = True
        thread.join(10)
        address.bound.close()


def ask(connection: http.client.HTTPConnection, path: str, token: str, *, tag: str = "", body: Any = None) -> Answer:
    """One request over an open connection."""
    headers = {"X-Stimsynth-Token": token} | ({"If-None-Match": tag} if tag else {})
    data = None if body is None else json.dumps(body).encode()
    headers |= {} if data is None else {"Content-Type": "application/json"}
    connection.request("GET" if data is None else "POST", path, body=data, headers=headers)
    answer = connection.getresponse()
    return Answer(answer.status, answer.read(), {k.lower(): v for k, v in answer.getheaders()})
