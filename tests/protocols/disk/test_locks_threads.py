"""Threads of one process hold a project's lock one after another, as processes do."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from protocols.disk import locks
from protocols.disk.locks import LOCK, held_here, hold, holder_of
from protocols.errors import DataError


def test_threads_hold_it_one_after_another(tmp_path: Path) -> None:
    inside, most, count = [0], [0], [0]

    def work() -> None:
        for _ in range(12):
            with hold(tmp_path, "test", wait_s=60):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                count[0] += 1
                time.sleep(0.0005)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most[0], count[0]) == (1, 72)
    assert not (tmp_path / LOCK).exists()


def test_a_thread_that_waits_too_long_is_told_who_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE_S", 0.05)
    told: list[str] = []

    def work() -> None:
        with pytest.raises(DataError, match=r"S08.*`fit`"), hold(tmp_path, "other"):
            pass
        told.append("refused")

    with hold(tmp_path, "fit"):
        assert held_here(tmp_path)
        found = holder_of(tmp_path)
        assert found is not None
        assert found.what == "fit"
        other = threading.Thread(target=work)
        other.start()
        other.join()
    assert told == ["refused"]
    assert not held_here(tmp_path)
    assert holder_of(tmp_path) is None


def test_a_lock_that_says_nothing_or_is_of_a_process_that_is_gone_is_nobodys(tmp_path: Path) -> None:
    for content in (b"", b"x", b"000000000000\n{}\n", b"000000000000\n[1]\n", b"\xff\n\xff"):
        (tmp_path / LOCK).write_bytes(content)
        assert holder_of(tmp_path) is None
    (tmp_path / LOCK).unlink()
    with hold(tmp_path, "fit"):
        kept = (tmp_path / LOCK).read_bytes()
    (tmp_path / LOCK).write_bytes(kept)
    assert holder_of(tmp_path) is None
