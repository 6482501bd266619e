"""MWorks: the experiment keeps to the grammar of MWEL, and its states show the planned order."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.helpers.rig_software import outbox

TOKEN = re.compile(
    r"(?P<comment>//[^\n]*)|(?P<newline>\n)|(?P<space>[ \t\r]+)|(?P<text>'[^'\n]*'|\"[^\"\n]*\")|(?P<directive>%\w+)"
    r"|(?P<word>[A-Za-z]\w*)|(?P<number>\d+(?:\.\d+)?(?:us|ms|s)?)|(?P<sign>[-+*/]=|[<>=!]=|[-+*/%<>=(){}\[\],;:])"
)


@dataclass
class Part:
    """A variable, an assignment, a macro or a component of an MWEL file."""

    kind: str
    tag: str = ""
    values: dict[str, str] = field(default_factory=dict)
    children: list[Part] = field(default_factory=list)

    def of(self, kind: str) -> list[Part]:
        return [child for child in self.children if child.kind == kind]


class Reader:
    """A parser of MWEL by its manual (identifiers, var, assignments, component declarations, %define)."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        place = 0
        while place < len(text):
            match = TOKEN.match(text, place)
            assert match, f"no MWEL: {text[place : place + 30]!r}"
            if match.lastgroup not in ("comment", "space"):
                self.tokens.append(match[0])
            place = match.end()
        self.place = 0

    def peek(self) -> str:
        return self.tokens[self.place] if self.place < len(self.tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        assert token, "the file ends too early"
        assert not wanted or token == wanted, f"{token!r} where {wanted!r} is expected"
        self.place += 1
        return token

    def lines(self) -> None:
        while self.peek() == "\n":
            self.place += 1

    def expression(self) -> str:
        """Up to the end of the line, a semicolon, or a bracket that it did not open."""
        words: list[str] = []
        depth = 0
        while self.peek() and not (depth == 0 and self.peek() in ("\n", ";", ")", "}")):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(self.peek(), 0)
            assert self.peek() != "\n"
            words.append(self.take())
        assert words, "an empty expression"
        return " ".join(words)

    def parameters(self) -> dict[str, str]:
        values: dict[str, str] = {}
        self.take("(")
        self.lines()
        while self.peek() != ")":
            named = self.tokens[self.place + 1 : self.place + 2] == ["="]
            name = self.take() if named else ""
            if named:
                self.take("=")
            assert name not in values
            values[name] = self.expression()
            assert self.peek() in ("\n", ";", ")")
            while self.peek() in ("\n", ";"):
                self.take()
        self.take(")")
        return values

    def statement(self) -> Part:
        word = self.take()
        if word == "%define":
            name = self.take()
            self.take("=")
            return Part("define", name, {"": self.expression()})
        if word == "var":
            name = self.take()
            self.take("=")
            return Part("var", name, {"": self.expression()})
        assert re.fullmatch(r"[A-Za-z]\w*", word), word
        if self.peek() in ("=", "+="):
            sign = self.take()
            return Part("assign", word, {sign: self.expression()})
        tag = self.take() if re.match(r"[A-Za-z'\"]", self.peek()) else ""
        assert self.peek() in ("(", "{"), f"component {word} has neither parameters nor children"
        values = self.parameters() if self.peek() == "(" else {}
        part = Part(word, tag, values)
        if self.peek() == "{":
            self.take()
            part.children = self.statements("}")
            self.take("}")
        return part

    def statements(self, end: str = "") -> list[Part]:
        found: list[Part] = []
        self.lines()
        while self.peek() != end:
            found.append(self.statement())
            assert self.peek() in ("\n", end), f"{found[-1].kind} {found[-1].tag} does not end its line"
            self.lines()
        return found


def parsed(folder: Path) -> Part:
    return Part("file", children=Reader((folder / "mworks_round.mwel").read_text(encoding="ascii")).statements())


def variables(file: Part) -> dict[str, Any]:
    """Lists and numbers of the variables; `a + b` joins lists."""
    found: dict[str, Any] = {}
    for part in (*file.of("var"), *file.of("define")):
        text = part.values[""]
        if text.startswith("["):
            found[part.tag] = [int(n) for n in text.strip("[] ").split(" , ")]
        elif re.fullmatch(r"\w+_block_\d\d(?: \+ \w+_block_\d\d)*", text):
            found[part.tag] = [n for name in text.split(" + ") for n in found[name]]
        else:
            found[part.tag] = text
    return found


def played(file: Part, aborted: frozenset[int] = frozenset()) -> list[tuple[Any, ...]]:
    """What the states of the protocol do: at each update (image on the display or None, trial, block, rep, state)."""
    known = variables(file)
    group = [image.tag for image in file.of("stimulus_group")[0].children]
    (protocol,) = file.of("protocol")
    (task,) = protocol.of("task")
    states = {state.tag.strip("'"): state for state in task.of("state")}
    queue: list[str] = []
    updates: list[tuple[Any, ...]] = []
    known["position"] = 0
    here, name = next(iter(states)), ""
    for _ in range(10_000):
        target = ""
        for part in states[here].children:
            value = next(iter(part.values.values()), "")
            if part.kind == "assign" and "+=" in part.values:
                known[part.tag] += int(value)
            elif part.kind == "assign":
                match = re.fullmatch(r"(\w+) \[ (\w+) \]", value)
                known[part.tag] = known[match[1]][known[match[2]]] if match else value.strip("'")
            elif part.kind in ("queue_stimulus", "dequeue_stimulus"):
                assert value == "round_images [ image_index ]"
                name = group[known["image_index"]]
                queue.append(name) if part.kind == "queue_stimulus" else queue.remove(name)
            elif part.kind == "clear_display":
                queue.clear()
            elif part.kind == "update_display":
                assert len(queue) <= 1
                state = (known["shown_trial"], known["shown_block"], known["shown_rep"], known["shown_state"])
                updates.append((queue[0] if queue else None, *state))
            elif part.kind == "goto" and not target:
                when = part.values.get("when", "true")
                holds = {
                    "true": True,
                    "not fixating": known["position"] in aborted,
                    "fixating": True,
                    "position < presentations": known["position"] < int(known["presentations"]),
                }.get(when, when.startswith("timer_expired"))
                target = (part.values.get("target") or value).strip("'") if holds else ""
            elif part.kind == "yield":
                return updates
        here = target
    raise AssertionError("the protocol does not end")


def test_the_images_and_their_sizes(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["mworks"], rig={"position_deg": [1.5, -2.0]}, background=51)
    file = parsed(box.folder)
    (display,) = file.of("stimulus_display")
    assert display.values["background_color"] == "0.2 , 0.2 , 0.2"
    (group,) = file.of("stimulus_group")
    assert [i.tag for i in group.children] == list(box.images)
    assert [i.values["path"] for i in group.children] == [f"'{i.filename}'" for i in box.images.values()]
    assert {i.kind for i in group.children} == {"image_file"}
    known = variables(file)
    assert (known["image_size"], known["image_x"], known["image_y"]) == ("4", "1.5", "- 2")
    assert known["on_time"] == "100000us"


def test_the_longer_side_gives_the_size_of_a_picture_that_stands_upright(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["mworks"], height_px=30)
    assert variables(parsed(box.folder))["image_size"] == "5"


@pytest.mark.parametrize("blocks", [1, 2, 12])
def test_the_states_show_the_planned_order(tmp_path, blocks):
    box = outbox(tmp_path / "outbox", rigs=["mworks"], blocks=blocks)
    expected: list[tuple[Any, ...]] = []
    for t in box.order:
        expected += [(t.image_id, t.trial, t.block, t.rep, "on"), (None, t.trial, t.block, t.rep, "complete")]
    assert played(parsed(box.folder)) == expected


def test_an_image_without_fixation_is_marked_and_the_next_one_follows(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["mworks"])
    states = [u[-1] for u in played(parsed(box.folder), frozenset({2}))]
    assert states == ["on", "complete"] * 2 + ["on", "aborted"] + ["on", "complete"] * 7


@pytest.mark.parametrize("off_ms", [0.0, 100.0])
def test_no_image_begins_without_fixation_nor_right_after_an_aborted_one(tmp_path, off_ms):
    box = outbox(tmp_path / "outbox", rigs=["mworks"], off_ms=off_ms)
    (task,) = parsed(box.folder).of("protocol")[0].of("task")
    states = {state.tag.strip("'"): state for state in task.of("state")}
    ways = [(name, goto.values) for name, state in states.items() for goto in state.of("goto")]
    assert next(iter(states)) == "Wait"
    assert [(n, v.get("when")) for n, v in ways if v.get("target") == "'Show'"] == [("Wait", "fixating")]
    timed = [(part.kind, part.values) for part in states["Abort"].children if part.kind in ("start_timer", "goto")]
    hidden = [(part.kind, part.values) for part in states["Hide"].children if part.kind in ("start_timer", "goto")]
    assert timed == hidden  # the background lasts as long as after a whole image
    assert len(timed) == (2 if off_ms else 1)
    assert states["Abort"].of("update_display")


def test_without_background_the_next_image_replaces_the_last(tmp_path):
    box = outbox(tmp_path / "outbox", rigs=["mworks"], off_ms=0.0)
    assert [u[0] for u in played(parsed(box.folder))] == [t.image_id for t in box.order]


@pytest.mark.parametrize(
    "text", ["protocol A\n", "var x 3\n", "goto ('A'\n", "x = [1,\n2]\n", "image_file 3a ()\n", "é = 1\n"]
)
def test_the_parser_refuses_what_is_no_mwel(text):
    with pytest.raises(AssertionError):
        Reader(text).statements()
