"""Who may ask the server for anything: those who know its token, under its own name, from its own pages.

Plain ASGI, so that it stands before everything else. A page of another site cannot read an answer (no token: the cookie
is SameSite=Strict), cannot reach the server under a name of its own (the Host header), and cannot decide (Origin). What
is served runs no script but its own files (Content-Security-Policy).
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Guard", "allowed_host"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD", "POST")
TOKEN_HEADER = "x-stimsynth-token"
MOST_BODY = 64 << 10
"""Bytes of what is posted."""
HEADERS = (
    (b"content-security-policy", b"default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
     b"frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)  # fmt: skip
NO_TOKEN = "Open the address that `stimsynth serve` printed: it holds the token of this server.\n"


def allowed_host(value: str, names: Iterable[str]) -> bool:
    """Whether a Host header names this server: by an address in digits, or by one of `names`, whatever the port.

    A name of somebody else that leads here (DNS rebinding) is none of them.
    """
    try:
        host = urlsplit(f"//{value}").hostname
    except ValueError:
        return False
    if not host or any(c in value for c in "/@?#\\ "):
        return False
    if host in {name.lower() for name in names}:
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


class Guard:
    """An ASGI application before another one.

    Parameters
    ----------
    app : ASGI application
    token : str
    names : iterable of str
        Under which the server may be asked, beside addresses in digits.
    cookie : str
        Name of the cookie, which differs between servers of one machine.
    """

    def __init__(self, app: App, *, token: str, names: Iterable[str], cookie: str) -> None:
        self.app, self.token, self.names, self.cookie = app, token, tuple(names), cookie

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http":
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        refused = self._refused(scope, headers)
        if refused is not None:
            await _text(send, *refused)
            return
        given = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [""])[0]
        if scope["method"] != "POST" and given and scope["path"] == "/":
            if self._is_token(given):
                await self._enter(send)
            else:
                await _text(send, 403, NO_TOKEN)
            return
        if not self._known(headers):
            await _text(send, 403, NO_TOKEN)
            return
        await self.app(scope, receive, _with_headers(send))

    def _refused(self, scope: Message, headers: dict[str, str]) -> tuple[int, str] | None:
        if scope["method"] not in METHODS:
            return 405, "this server is asked by GET, and decisions by POST\n"
        hosts = [value for name, value in scope["headers"] if name.lower() == b"host"]
        if len(hosts) != 1 or not allowed_host(headers.get("host", ""), self.names):
            return 421, "this server does not answer to that name; use the address that it printed\n"
        if scope["method"] != "POST":
            return None
        own = {f"http://{headers['host'].lower()}", f"https://{headers['host'].lower()}"}
        origin = headers.get("origin", "").lower()
        by_header = TOKEN_HEADER in headers  # a program; no page of another site can send it
        if origin not in own and (origin or not by_header):
            return 403, "a decision is taken on a page of this server\n"
        if headers.get("sec-fetch-site", "same-origin") != "same-origin":
            return 403, "a decision is taken on a page of this server\n"
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return 415, "expected application/json\n"
        length = headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > MOST_BODY:
            return 413, f"expected at most {MOST_BODY} bytes, and their number\n"
        return None

    def _known(self, headers: dict[str, str]) -> bool:
        if TOKEN_HEADER in headers:
            return self._is_token(headers[TOKEN_HEADER])
        cookies = SimpleCookie()
        try:
            cookies.load(headers.get("cookie", ""))
        except CookieError:
            return False
        found = cookies.get(self.cookie)
        return found is not None and self._is_token(found.value)

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), self.token.encode())

    async def _enter(self, send: Send) -> None:
        """Put the token into a cookie and go on without it in the address."""
        cookie = f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"
        headers = [(b"location", b"/"), (b"set-cookie", cookie.encode()), (b"cache-control", b"no-store")]
        await _answer(send, 303, headers)


def _with_headers(send: Send) -> Send:
    async def more(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *HEADERS]}
        await send(message)

    return more


async def _text(send: Send, status: int, text: str) -> None:
    await _answer(send, status, [(b"content-type", b"text/plain; charset=utf-8")], body=text.encode())


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], *, body: bytes = b"") -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length, *HEADERS]})
    await send({"type": "http.response.body", "body": body})
