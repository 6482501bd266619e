"""The file of decisions: what is written is read, whatever is altered is refused in words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import DataError
from protocols.project.decisions.record import (
    FILE,
    Decision,
    append_decision,
    last_digest,
    problem_of,
    read_decisions,
)
from protocols.project.decisions.standing import standing_of

WORDS = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20).filter(
    lambda t: t.isprintable() and bool(t.strip())
)
SITES = st.sampled_from(["v4_001", "v4_002", "v4_003"])
IMAGES = st.sampled_from(["ctl_r01_stretch_v4_001_s0", "ctl_r01_stretch_v4_002_s0"])


@st.composite
def said(draw: st.DrawFn) -> Decision:
    action = draw(st.sampled_from(["veto", "approve", "stop", "resume", "targets"]))
    about: dict[str, object] = {"sites": tuple(draw(st.lists(SITES, min_size=1, unique=True)))}
    if action in ("veto", "approve"):
        about = {"image": draw(IMAGES), "pixels_sha256": draw(st.sampled_from(["a", "b"]))}
    elif action == "targets" and draw(st.booleans()):
        about = {}
    words = {"who": draw(WORDS), "reason": draw(WORDS), "round": draw(st.integers(1, 3))}
    return Decision(sequence=0, utc="2026-11-21T09:30:00Z", action=action, **words, **about)


def written(folder: Path, listed: list[Decision]) -> tuple[Decision, ...]:
    kept: tuple[Decision, ...] = ()
    for one in listed:
        new = replace(one, sequence=len(kept) + 1, previous=last_digest(kept))
        assert not problem_of(new)
        kept = (*kept, new)
    append_decision(folder, kept[:-1], kept[-1])
    return kept


@given(listed=st.lists(said(), min_size=1, max_size=6))
@settings(max_examples=20, deadline=None)
def test_what_is_written_is_read_and_the_last_word_counts(
    tmp_path_factory: pytest.TempPathFactory, listed: list[Decision]
) -> None:
    folder = tmp_path_factory.mktemp("decisions")
    kept = written(folder, listed)
    assert read_decisions(folder) == kept
    standing = standing_of(kept)
    images: dict[tuple[str, str], str] = {}
    stopped: dict[str, bool] = {}
    targets: dict[int, tuple[str, ...]] = {}
    for d in kept:
        if d.action in ("veto", "approve"):
            images[d.image, d.pixels_sha256] = d.action
        elif d.action == "targets":
            targets[d.round] = d.sites
        else:
            stopped |= dict.fromkeys(d.sites, d.action == "stop")
    assert set(standing.vetoed) == {pair for pair, action in images.items() if action == "veto"}
    assert set(standing.stopped) == {s for s, value in stopped.items() if value}
    chosen = {n: standing.targets_of(n) for n in (1, 2, 3)}
    assert {n: d.sites for n, d in chosen.items() if d is not None} == {n: s for n, s in targets.items() if s}


@given(listed=st.lists(said(), min_size=1, max_size=4), data=st.data())
@settings(max_examples=30, deadline=None)
def test_one_altered_byte_anywhere_is_refused(
    tmp_path_factory: pytest.TempPathFactory, listed: list[Decision], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("altered")
    written(folder, listed)
    content = bytearray((folder / FILE).read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    (folder / FILE).write_bytes(content)
    with pytest.raises(DataError, match="S10"):
        read_decisions(folder)


@pytest.mark.parametrize(
    "text", [b"{}\n", b"[]\n", b"null\n", b"\n", b"\xff\xfe\n", b"[" * 100_000 + b"\n", b'{"schema": "decision/1"}\n', b"NaN\n"]
)  # fmt: skip
def test_what_is_no_decision_is_refused(tmp_path: Path, text: bytes) -> None:
    (tmp_path / FILE).write_bytes(text)
    with pytest.raises(DataError, match=r"S10.*Fix: restore"):
        read_decisions(tmp_path)


def test_a_line_that_is_removed_swapped_or_cut_is_refused(tmp_path: Path) -> None:
    sites = [
        Decision(sequence=0, utc="u", who="a", action="stop", reason="r", round=1, sites=(f"v4_{i}",)) for i in range(3)
    ]
    written(tmp_path, sites)
    lines = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    for wrong in (
        lines[1:],
        [lines[0], lines[2]],
        [lines[1], lines[0], lines[2]],
        [*lines[:2], lines[2][:-1]],
        [*lines, lines[2]],
    ):
        (tmp_path / FILE).write_bytes(b"".join(wrong))
        with pytest.raises(DataError, match="S10"):
            read_decisions(tmp_path)


def test_no_file_is_no_decision_and_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="F15"):  # neither decisions nor a project: the share may be away
        read_decisions(tmp_path)
    (tmp_path / "project.toml").touch()
    assert read_decisions(tmp_path) == ()
    (tmp_path / FILE).mkdir()
    with pytest.raises(DataError, match="F13"):
        read_decisions(tmp_path)
