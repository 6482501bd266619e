"""Answers are built once per change, by one reader, whoever asks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.project.folder import Project
from protocols.serve.kept import Kept
from protocols.serve.stamps import live_stamp, project_stamp


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def built(what: str) -> Callable[[str], tuple[bytes, str]]:
    return lambda stamp: (f"{what} {stamp}".encode(), f"{what}{stamp}")


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("ask"), st.sampled_from("ab")),
            st.tuples(st.just("wait"), st.floats(0, 3)),
            st.tuples(st.just("change"), st.just("")),
            st.tuples(st.just("forget"), st.just("")),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_an_answer_is_never_older_than_it_may_be_and_built_only_after_a_change(steps: list[tuple[str, object]]) -> None:
    clock, state, changed = Clock(), [0], [0.0]
    kept = Kept(lambda: str(state[0]), every_s=1.0, clock=clock)
    built_at: dict[object, int] = {}
    for what, value in steps:
        if what == "wait":
            clock.now += float(value)  # type: ignore[arg-type]
        elif what == "change":
            state[0] += 1
            changed[0] = clock.now
        elif what == "forget":
            kept.forget()
        else:
            before = kept.built
            answer = kept.get(value, built(str(value)))
            stamp = int(answer.stamp)
            assert answer.data == f"{value} {stamp}".encode()
            assert stamp == state[0] or clock.now - changed[0] < 2.0  # an answer and its stamp are a second old each
            if kept.built > before:
                assert kept.built == before + 1
            built_at[value] = stamp
    assert kept.built <= 2 * (state[0] + 1) + 2 * sum(what == "forget" for what, _ in steps)


def test_one_reads_while_others_get_what_was_known() -> None:
    clock, reading, go, count = Clock(), threading.Event(), threading.Event(), [0]
    kept = Kept(lambda: str(count[0]), every_s=1.0, clock=clock)

    def slow(stamp: str) -> tuple[bytes, str]:
        if stamp == "1":
            reading.set()
            assert go.wait(5)
        return stamp.encode(), stamp

    assert kept.get("k", slow).data == b"0"
    clock.now, count[0] = 2.0, 1
    found: list[bytes] = []
    first = threading.Thread(target=lambda: found.append(kept.get("k", slow).data))
    first.start()
    assert reading.wait(5)
    begun = time.monotonic()
    assert kept.get("k", slow).data == b"0"
    assert time.monotonic() - begun < 1
    go.set()
    first.join(5)
    assert found == [b"1"]
    assert kept.built == 2


def test_the_least_used_answers_go_first() -> None:
    kept = Kept(lambda: "s", most=2)
    for key in ("a", "b", "c"):
        kept.get(key, built(key))
    kept.get("b", built("b"))
    assert kept.built == 3
    kept.get("a", built("a"))
    assert kept.built == 4


def test_stamps_change_with_what_they_stand_for(lab: Project) -> None:
    folder, round_ = lab.folder, lab.round(1)

    def both() -> tuple[str, str]:
        return project_stamp(folder), live_stamp(folder)

    def touch(path: Path, text: str = "x") -> Callable[[], object]:
        path.parent.mkdir(parents=True, exist_ok=True)
        return lambda: path.write_text(text)

    for path in (folder / "project.toml", folder / "decisions.jsonl", lab.data / "responses.h5", lab.fitted / "for_round_02.json",
                 round_.folder / "log.jsonl", round_.inbox / "block_000.h5", round_.sealed / "controllers.h5", round_.evaluation_path):  # fmt: skip
        change = touch(path)
        before = both()
        change()
        assert both()[0] != before[0], path
        assert both()[1] == before[1], path
    for path in (
        folder / ".stimsynth.lock",
        folder / "cache" / "working.json",
        folder / "cache" / "shards" / "images_0" / "shards" / "0001.json",
    ):
        change = touch(path)
        before = both()
        change()
        assert both()[1] != before[1], path
        assert both()[0] == before[0], path
    before = both()
    time.sleep(0.01)
    assert both() == before


def test_what_did_not_change_is_built_once_however_long_it_is_asked_for() -> None:
    clock, looks = Clock(), [0]

    def stamp() -> str:
        looks[0] += 1
        return "s"

    kept = Kept(stamp, every_s=1.0, clock=clock)
    for _ in range(20):
        assert kept.get("k", built("k")).data == b"k s"
        clock.now += 0.5
    assert kept.built == 1
    assert looks[0] == 10  # once a second
