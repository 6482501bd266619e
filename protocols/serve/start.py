"""Starting the server: the address, the token, and one process that answers until it is interrupted."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Callable
from importlib.util import find_spec

from protocols.errors import DataError

from .contents import Contents

__all__ = ["Address", "check_libraries", "listen", "serve"]

NEEDED = ("starlette", "uvicorn")
HERE = "127.0.0.1"


class Address:
    """A bound socket, and the address of its page.

    Attributes
    ----------
    host, port
    token : str
        Random; whoever has it may look, and decide where that is allowed.
    """

    def __init__(self, bound: socket.socket, host: str) -> None:
        self.bound, self.host, self.port = bound, host, int(bound.getsockname()[1])
        self.token = secrets.token_urlsafe(24)

    @property
    def names(self) -> tuple[str, ...]:
        """Under which the server may be asked, beside addresses in digits."""
        own = () if self.local else (socket.gethostname(), self.host)
        return ("localhost", *own)

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def cookie(self) -> str:
        """Its name, which differs between servers of one machine: browsers do not tell ports apart."""
        return f"stimsynth_{self.port}"

    @property
    def url(self) -> str:
        """The address to open, with the token."""
        everywhere = self.host in ("0.0.0.0", "::")
        name = socket.gethostname() if everywhere else f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.port}/?token={self.token}"


def check_libraries() -> None:
    """Refuse to begin where a library is missing.

    Raises
    ------
    DataError
        S20
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise DataError(
            "serve",
            found=f"no {' and no '.join(missing)}",
            expected="the libraries that serve pages",
            cause="they come with an extra of their own",
            fix="pip install 'stimsynth[serve]'; without them `stimsynth preview` writes pages that need no server",
            code="S20",
        )


def listen(host: str = HERE, port: int = 0) -> Address:
    """Bind the address; port 0: a free one.

    Raises
    ------
    DataError
        S21: it cannot be bound.
    """
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        bound = socket.socket(family, socket.SOCK_STREAM)
    except (OSError, UnicodeError, OverflowError) as error:
        raise _not_bound(host, port, error) from error
    try:
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):  # Windows lets another program take an address that is in use
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a port whose server has just ended is free
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(place)
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise _not_bound(host, port, error) from error
    return Address(bound, host)


def serve(contents: Contents, address: Address, *, ready: Callable[[], None] | None = None) -> None:
    """Answer at `address` until the process is interrupted; `ready` is called when the first page can be opened."""
    from uvicorn import Config, Server

    from .app import build_app

    app, _ = build_app(contents, token=address.token, names=address.names, cookie=address.cookie)
    config = Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        timeout_graceful_shutdown=2,
    )
    if ready is not None:
        ready()  # the socket listens already: a browser that comes first waits
    Server(config).run(sockets=[address.bound])


def _not_bound(host: str, port: int, error: Exception) -> DataError:
    return DataError(
        f"--host {host} --port {port}",
        found=f"an address that cannot be used ({error})",
        expected="a free port of this machine",
        cause="another server runs there, or the host is not one of this machine",
        fix="leave --port out, which takes a free one, or stop the other server",
        code="S21",
    )
