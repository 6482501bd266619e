"""One command at a time: who holds a lock, who waits, who is refused, and who is known to be gone."""

from __future__ import annotations

import errno
import json
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from unittest import mock

import pytest

from protocols.disk import locks
from protocols.disk.locks import LOCK, Holder, hold, host, started
from protocols.errors import DataError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
ELSEWHERE = Holder(host="another machine", pid=1, started="1", what="fit", utc="2026-11-21T09:30:00Z", token="x")


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.05)
    monkeypatch.setattr(locks, "PAUSE_S", 0.01)


def child(action: Callable[[], object]) -> int:
    """Begin `action` in another process, which ends with 0, or with 3 where it raises a `DataError`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this process has threads; the child begins its own
        number = os.fork()
    if number == 0:
        try:
            action()
        except DataError:
            os._exit(3)
        except BaseException:
            os._exit(1)
        os._exit(0)
    return number


def ended(number: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[int]:
    """Another process that holds the lock of `tmp_path`, until it is killed."""

    def action() -> None:
        with hold(tmp_path, "fit"):
            (tmp_path / "held").touch()
            time.sleep(30)

    number = child(action)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    yield number
    try:
        os.kill(number, signal.SIGKILL)
        os.waitpid(number, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def written(folder: Path, holder: Holder, beat: int = 0) -> None:
    """A lock as another program would write it."""
    text = f"{beat:012d}\n{json.dumps(asdict(holder))}\n"
    (folder / LOCK).write_text(text)


def test_a_lock_is_there_while_it_is_held_and_gone_afterwards(tmp_path: Path) -> None:
    with hold(tmp_path, "fit"):
        told = json.loads((tmp_path / LOCK).read_text().splitlines()[1])
        assert told["what"] == "fit"
        assert told["pid"] == os.getpid()
        with hold(tmp_path, "export"):  # the same thread: part of the same command
            assert (tmp_path / LOCK).exists()
        assert (tmp_path / LOCK).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_refused_in_words(tmp_path: Path, holder: int) -> None:
    with (
        pytest.raises(DataError, match=rf"S08.*`fit` \(process {holder}, since .*wait until it has ended"),
        hold(tmp_path, "run"),
    ):
        pass
    assert (tmp_path / LOCK).exists()


def test_a_second_thread_is_refused(tmp_path: Path) -> None:
    found: list[str] = []

    def other() -> None:
        try:
            with hold(tmp_path, "run"):
                found.append("held")
        except DataError as error:
            found.append(error.code)

    with hold(tmp_path, "fit"):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert found == ["S08"]


def test_one_who_waits_gets_it(tmp_path: Path) -> None:
    def action() -> None:
        with hold(tmp_path, "fit"):
            (tmp_path / "held").touch()
            time.sleep(0.3)

    number = child(action)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with hold(tmp_path, "run", wait_s=10):
        assert ended(number) == 0


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path: Path, holder: int) -> None:
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    with hold(tmp_path, "run"):
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_process_of_the_same_number_that_began_later_does_not_hold_it(tmp_path: Path) -> None:
    parent = os.getppid()
    same = replace(ELSEWHERE, host=host(), pid=parent, started=started(parent))
    written(tmp_path, same)
    with pytest.raises(DataError, match="S08"), hold(tmp_path, "run"):
        pass
    written(tmp_path, replace(same, started=f"{same.started}0"))
    with hold(tmp_path, "run"):
        pass


@pytest.mark.parametrize("content", [None, b"", b"\0\0\0", b"000000000001\n{}\n", b"[]"])
def test_a_lock_that_is_silent_is_taken_over_after_a_while(tmp_path, monkeypatch, content) -> None:
    monkeypatch.setattr(locks, "SILENT_S", 0.3)
    written(tmp_path, ELSEWHERE)
    if content is not None:
        (tmp_path / LOCK).write_bytes(content)
    start = time.monotonic()
    with hold(tmp_path, "run"):
        assert time.monotonic() - start >= 0.3
        assert json.loads((tmp_path / LOCK).read_text().splitlines()[1])["what"] == "run"


def test_a_holder_on_another_machine_that_beats_is_not_robbed(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "SILENT_S", 0.5)
    written(tmp_path, ELSEWHERE)
    over = threading.Event()

    def beat() -> None:
        for number in range(1, 100):
            if over.wait(0.1):
                return
            written(tmp_path, ELSEWHERE, number)

    thread = threading.Thread(target=beat)
    thread.start()
    with pytest.raises(DataError, match=r"S08.*on another"), hold(tmp_path, "run", wait_s=1.5):
        pass
    over.set()
    thread.join()


def test_the_holder_beats(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(locks, "BEAT_S", 0.02)
    with hold(tmp_path, "fit"):
        first = (tmp_path / LOCK).read_bytes()
        time.sleep(0.2)
        second = (tmp_path / LOCK).read_bytes()
    assert first != second
    assert len(first) == len(second)
    assert first.splitlines()[1] == second.splitlines()[1]


def test_one_who_was_robbed_is_told_at_its_end_and_leaves_the_others_lock(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"S08.*took over"), hold(tmp_path, "fit"):
        written(tmp_path, ELSEWHERE)
    assert (tmp_path / LOCK).exists()


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOTSUP, errno.EMLINK])
def test_a_share_without_hard_links(tmp_path, number, monkeypatch) -> None:
    with mock.patch.object(os, "link", side_effect=OSError(number, "no")):
        with hold(tmp_path, "fit"):
            assert ended(child(lambda: hold(tmp_path, "run").__enter__())) == 3
        assert list(tmp_path.iterdir()) == []


def test_a_link_that_was_made_and_reported_as_failed(tmp_path: Path) -> None:
    real = os.link

    def lost(*args: object) -> None:
        real(*args)  # type: ignore[arg-type]
        raise OSError(errno.EIO, "the answer was lost")

    with mock.patch.object(os, "link", lost), hold(tmp_path, "fit"):
        assert (tmp_path / LOCK).exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    refused = mock.patch("protocols.disk.locks.write_new", side_effect=OSError(errno.EROFS, "no"))
    with refused, pytest.raises(DataError, match="F12"), hold(tmp_path, "fit"):
        pass


def test_of_many_at_once_one_holds_it_at_a_time(tmp_path, monkeypatch) -> None:
    (tmp_path / "number").write_text("0")

    def count() -> None:
        for _ in range(5):
            with hold(tmp_path, "count", wait_s=60):
                number = int((tmp_path / "number").read_text())
                time.sleep(0.002)
                (tmp_path / "number").write_text(str(number + 1))

    children = [child(count) for _ in range(3)]
    assert [ended(number) for number in children] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "15"
