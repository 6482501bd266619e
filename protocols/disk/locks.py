"""One command at a time on one project: a lock file that says who holds it, on a share too.

The file appears in one step (a hard link, or exclusive creation), with host, process and what is done. Its holder
writes a beat into it. A holder on this machine that is gone is known by its process, one elsewhere by its silence.
No clock is compared: whoever waits counts how long the beat stands still.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

import psutil

from protocols.errors import DataError

from .files import write_new
from .leftovers import building_of, sweep
from .shares import writing

C = TypeVar("C", bound=Callable[..., Any])
LOCK = ".stimsynth.lock"
IN_USE = "S08"
"""Code of the error of whoever comes while another command works."""
BEAT_S, SILENT_S = 5.0, 60.0
"""Seconds between two beats; of silence after which a holder elsewhere is gone."""
PATIENCE_S, PAUSE_S = 2.0, 0.1
"""Seconds for which any command waits: one that only looks needs the lock for a moment; between two tries."""
_WIDTH = 12  # digits of a beat: written in place, so that the file keeps its length


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: machine, process and its start, what it does since when, and a name of this one hold."""

    host: str
    pid: int
    started: str
    what: str
    utc: str
    token: str

    @property
    def gone(self) -> bool | None:
        """Whether the process is gone, or has let go; None where it may run on another machine."""
        if self.host != host():
            return None
        if self.pid == os.getpid():
            return self.token not in {held.holder.token for held in _held.values()}
        return self.started != started(self.pid) or not self.started


@dataclass
class _Held:
    """A lock of this process; `thread` may take it again, `depth` times."""

    path: Path
    holder: Holder
    thread: int
    ended: threading.Event
    depth: int = 1


_held: dict[str, _Held] = {}
_doors: dict[str, threading.Lock] = {}
_swept: set[tuple[str, int]] = set()
for _of_parent in (_held, _doors) if hasattr(os, "register_at_fork") else ():
    os.register_at_fork(after_in_child=_of_parent.clear)


def host() -> str:
    """The machine, and the space of its process numbers."""
    return " ".join([socket.gethostname(), *_facts(Path("/etc/machine-id")), *_space()])


def _space() -> list[str]:
    try:
        return [os.readlink("/proc/self/ns/pid")]
    except OSError:
        return []


def _facts(path: Path) -> list[str]:
    """The one line of a file of the system; nothing where there is none."""
    try:
        return [path.read_text(encoding="ascii").strip()]
    except (OSError, ValueError):
        return []


def started(pid: int) -> str:
    """When a process of this machine was started, on a clock that nobody sets; "" where there is no such process."""
    if not psutil.pid_exists(pid):
        return ""
    with suppress(OSError, IndexError):
        ticks = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
        return " ".join([*_facts(Path("/proc/sys/kernel/random/boot_id")), ticks])
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""
    except psutil.Error:
        return "unknown"


@contextmanager
def hold(folder: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only command that works on `folder` inside this block; what others left half written there is swept first.

    The thread that holds it may hold it again. Who holds it is waited for during `wait_s` seconds, `PATIENCE_S` at
    least; one on another machine that is silent is waited for `SILENT_S` in any case.

    Raises
    ------
    DataError
        S08: another command works there, or took over because this one was silent; F10, F12: the lock cannot be
        written.
    """
    key = os.path.realpath(folder)
    mine = _held.get(key)
    if mine is not None and mine.thread == threading.get_ident():
        mine.depth += 1
        try:
            yield
        finally:
            mine.depth -= 1
        return
    begun = time.monotonic()
    door = _doors.setdefault(key, threading.Lock())  # threads of this process know one another by it, not by the file
    if not door.acquire(timeout=max(wait_s, PATIENCE_S)):
        raise _in_use(folder / LOCK, _holder(_read(folder / LOCK)))
    try:
        with _held_by(folder, key, what, wait_s=wait_s - (time.monotonic() - begun)):
            yield
    finally:
        door.release()


@contextmanager
def _held_by(folder: Path, key: str, what: str, *, wait_s: float) -> Iterator[None]:
    """The lock file, made by one thread of this process at a time."""
    path = folder / LOCK
    holder = Holder(
        host=host(),
        pid=os.getpid(),
        started=started(os.getpid()),
        what=what,
        utc=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        token=uuid.uuid4().hex,
    )
    _take(path, holder, max(wait_s, PATIENCE_S))
    held = _held[key] = _Held(path, holder, threading.get_ident(), threading.Event())
    threading.Thread(target=_beat, args=(held,), daemon=True).start()
    try:
        if (key, os.getpid()) not in _swept:  # the walk takes time on a share
            sweep(folder)
            _swept.add((key, os.getpid()))
        yield
        if not _is_ours(held):
            raise _in_use(path, _holder(_read(path)), "another command took over, since this one was silent")
    finally:
        held.ended.set()
        del _held[key]
        if _is_ours(held):
            with suppress(OSError):
                path.unlink()


def holder_of(folder: Path) -> Holder | None:
    """Who works on `folder` now, as its lock says; None where nobody does, or where a process of this machine that is
    gone left it behind. Nothing is waited for.
    """
    found = _holder(_read(folder / LOCK))
    return None if found is None or found.gone else found


def held_here(folder: Path) -> bool:
    """Whether this process works on `folder` now."""
    return os.path.realpath(folder) in _held


def alone(what: str, *, unless: Callable[..., bool] | None = None) -> Callable[[C], C]:
    """Let a function of a project, its first argument, be the only one that works on its folder (`hold`), but for calls
    whose arguments `unless` picks out.
    """

    def decorate(function: C) -> C:
        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            project = args[0] if args else kwargs.get("project")
            if project is None or (unless is not None and unless(*args, **kwargs)):
                return function(*args, **kwargs)  # which says what it lacks
            with hold(project.folder, what):
                return function(*args, **kwargs)

        return cast("C", call)

    return decorate


def _take(path: Path, holder: Holder, wait_s: float) -> None:
    """Make the lock, after whoever holds it has let go or is gone."""
    deadline = time.monotonic() + wait_s
    still, since = b"", time.monotonic()
    while not _create(path, holder):
        found, now = _read(path), time.monotonic()
        other = _holder(found)
        gone = None if other is None else other.gone
        alive = gone is False or _same(found, still)
        if found != still:
            still, since = found, now
        if gone or (gone is None and now - since >= SILENT_S):
            _remove(path, found)
        elif alive and now >= deadline:
            raise _in_use(path, other)
        else:
            time.sleep(PAUSE_S)


def _same(first: bytes, second: bytes) -> bool:
    """Whether two contents are of one hold at two beats."""
    one, other = _holder(first), _holder(second)
    return first != second and one is not None and other is not None and one.token == other.token


def _create(path: Path, holder: Holder) -> bool:
    """Make the lock with all that it says, in one step; False where there is one."""
    content = b"0".zfill(_WIDTH) + b"\n" + json.dumps(asdict(holder)).encode() + b"\n"
    ready = building_of(path)
    with writing(path):
        try:
            write_new(ready, content)  # flushed: no power cut leaves a lock that says nothing
            try:
                os.link(ready, path)
                return True
            except FileExistsError:
                return _read(path) == content  # a share whose answer was lost
            except OSError:  # no hard links here
                if _read(path) == content:
                    return True
                return _create_alone(path, content)
        finally:
            with suppress(OSError):
                ready.unlink()


def _create_alone(path: Path, content: bytes) -> bool:
    try:
        with open(path, "xb") as file:
            file.write(content)
    except FileExistsError:
        return False
    return True


def _read(path: Path) -> bytes:
    """What the lock holds; b"" where there is none (any more), or it cannot be read now."""
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _holder(content: bytes) -> Holder | None:
    """Who wrote a lock; None where that cannot be known."""
    try:
        return Holder(**json.loads(content.partition(b"\n")[2]))
    except (ValueError, TypeError):
        return None


def _remove(path: Path, content: bytes) -> None:
    """Delete the lock of one who is gone, and nobody else's.

    It is moved away, looked at, and put back where another one was faster.
    """
    aside = building_of(path.with_name(f"{path.name}.{uuid.uuid4().hex}"))
    with suppress(OSError):
        os.replace(path, aside)
        taken = _read(aside)
        if taken != content and taken:
            with suppress(OSError):
                os.link(aside, path)
        aside.unlink()


def _is_ours(held: _Held) -> bool:
    found = _holder(_read(held.path))
    return found is not None and found.token == held.holder.token


def _beat(held: _Held) -> None:
    """Count on in the lock until it is given back."""
    number = 0
    while not held.ended.wait(BEAT_S):
        number += 1
        with suppress(OSError):
            if _is_ours(held):
                with open(held.path, "r+b") as file:
                    file.write(str(number).encode().zfill(_WIDTH))


def _in_use(path: Path, holder: Holder | None, found: str = "") -> DataError:
    by = "another command" if holder is None else f"`{holder.what}` (process {holder.pid}, since {holder.utc})"
    where = "" if holder is None or holder.host == host() else f" on {holder.host.split()[0]}"
    return DataError(
        str(path.parent),
        found=found or f"{by} at work on this project{where}",
        expected="one command at a time",
        cause="a second terminal, a scheduled job, or another machine that has the folder too",
        fix="wait until it has ended and repeat the same command; one that was killed is noticed by itself",
        code=IN_USE,
    )
