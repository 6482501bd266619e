"""The same hostile inputs through the commands: an exit code of the documented ones, words for people, never a traceback."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from protocols.errors import CODES
from tests.protocols.helpers.commands import stimsynth
from tests.trust.helpers.answers import MUTATIONS, Setting
from tests.trust.helpers.outcome import Case, Family, Place, contents
from tests.trust.helpers.rounds import make_round
from tests.trust.helpers.sheet import Form, difference, read_table, write

KNOWN: dict[str, str] = {}


class Traceback(Exception):
    """A command ended in another way than it may."""


def told(code: int, out: str, err: str) -> str:
    """The code of the error that a refusal names; `Traceback` where the command ended otherwise than documented."""
    if code not in (0, 2, 3, 4):
        raise Traceback(f"exit code {code}: {err[-300:]}")
    if "Traceback" in out + err:
        raise Traceback(err[-300:])
    if code == 3:
        named = [c for c in CODES if f"error[{c}]" in out + err or f'"code": "{c}"' in out + err]
        if not named:
            raise Traceback(f"exit code 3 without a known code: {(out + err)[-300:]}")
        return named[0]
    return ""


@pytest.mark.thorough
@pytest.mark.parametrize("number", [0, 1])
def test_answers_through_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], number: int) -> None:
    """`stimsynth ingest`: each mutation once or twice, with the file outside of the inbox."""
    planned = make_round(tmp_path / "project", number=number)
    family = Family(f"tests/trust/test_commands.py::test_answers_through_the_command[{number}]", known=KNOWN)
    place = Place(tmp_path / "project")
    for name, (_, mutate) in MUTATIONS.items():
        for n in range(6 if name == "edited" else 1):
            rng = np.random.default_rng([5, n, number, *name.encode()])
            case = mutate(Setting(planned, tmp_path / "recorded.h5", rng))
            code, out, err = stimsynth(
                capsys, "ingest", place.folder, "--file", tmp_path / "recorded.h5", "--round", number
            )

            def run(code: int = code, out: str = out, err: str = err) -> tuple[Any, list[str]]:
                from protocols.errors import DataError

                if (named := told(code, out, err)) or code == 2:
                    raise DataError("command", found=err[-200:], expected="", cause="", fix="", code=named or "W06")
                return read_table(planned.round.responses_path), [out]

            taken = family.judge(case, run, lambda found, right: difference(found, right, tolerance=1e-12))
            if not taken and place.changed():
                family.fail(case, f"a refusal changed {place.changed()[:3]}")
            place.restore()
    family.close(share=0.3)


def _link(inbox: Path) -> None:
    shutil.move(inbox / "responses.h5", inbox.parents[4] / "elsewhere.h5")
    os.symlink(inbox.parents[4] / "elsewhere.h5", inbox / "responses.h5")


def _folder(inbox: Path) -> None:
    (inbox / "responses.h5").unlink()
    (inbox / "responses.h5").mkdir()


INBOXES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "as it should be": ("taken", lambda i: None),
    "dot files beside": ("taken", lambda i: (i / "._responses.h5").write_bytes(b"\0\5\x16\7")),
    "Thumbs.db beside": ("taken", lambda i: (i / "Thumbs.db").write_bytes(b"x")),
    "a note beside": ("taken", lambda i: (i / "note.txt").write_text("good animal")),
    "done with text in it": ("taken", lambda i: (i / "responses.h5.done").write_text("done\r\n")),
    "no done": ("refused", lambda i: (i / "responses.h5.done").unlink()),
    "done alone": ("refused", lambda i: (i / "responses.h5").unlink()),
    "a part": ("refused", lambda i: shutil.move(i / "responses.h5", i / "responses.h5.part")),
    "a folder": ("refused", _folder),
    "a link out of the project": ("refused", _link),
    "a dangling link": ("refused", lambda i: ((i / "responses.h5").unlink(), os.symlink("/nowhere/x.h5", i / "responses.h5"))),
    "in capitals": ("refused", lambda i: shutil.move(i / "responses.h5", i / "RESPONSES.H5")),
    "another ending": ("either", lambda i: (shutil.move(i / "responses.h5", i / "responses.mat"), (i / "responses.mat.done").touch())),
    "no inbox": ("refused", lambda i: shutil.rmtree(i)),
}  # fmt: skip


def test_inboxes_of_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies in an inbox besides, or in place of, the answer."""
    family = Family("tests/trust/test_commands.py::test_inboxes_of_every_kind", known=KNOWN)
    for name, (right, change) in INBOXES.items():
        base = tmp_path / name.replace(" ", "_")
        planned = make_round(base / "a" / "project")
        setting = Setting(planned, planned.round.inbox / "responses.h5", np.random.default_rng(1))
        sheet = setting.sheet()
        write(setting.path, sheet, Form())
        (planned.round.inbox / "responses.h5.done").touch()
        change(planned.round.inbox)
        before = contents(base / "a" / "project")
        code, out, err = stimsynth(capsys, "ingest", base / "a" / "project", "--round", 1)

        def run(code: int = code, out: str = out, err: str = err, planned: Any = planned) -> tuple[Any, list[str]]:
            from protocols.errors import DataError

            if (named := told(code, out, err)) or code == 2:
                raise DataError("command", found=err[-200:], expected="", cause="", fix="", code=named or "W06")
            return read_table(planned.round.responses_path), [out]

        case = Case(name, right, setting.table(sheet))
        if not family.judge(case, run, difference) and contents(base / "a" / "project") != before:
            family.fail(case, "a refusal changed the project")
        code, out, err = stimsynth(capsys, "status", base / "a" / "project")
        family.judge(Case("status", "either"), lambda c=code, o=out, e=err: (told(c, o, e), []), lambda *_: "")
    family.close(share=0.3)


def test_a_second_answer_needs_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another file is refused, the same one changes nothing, and with the option that the refusal names it replaces."""
    planned = make_round(tmp_path / "project")
    setting = Setting(planned, tmp_path / "one.h5", np.random.default_rng(1))
    sheet = setting.sheet()
    write(tmp_path / "one.h5", sheet, Form())
    better = setting.sheet()
    write(tmp_path / "two.h5", better, Form())
    assert stimsynth(capsys, "ingest", tmp_path / "project", "--round", 1, "--file", tmp_path / "one.h5")[0] == 0
    place = Place(tmp_path / "project")
    assert stimsynth(capsys, "ingest", tmp_path / "project", "--round", 1, "--file", tmp_path / "one.h5")[0] == 0
    assert place.changed() == []
    code, out, err = stimsynth(capsys, "ingest", tmp_path / "project", "--round", 1, "--file", tmp_path / "two.h5")
    assert told(code, out, err) == "I03"
    assert "--replace" in err
    assert place.changed() == []
    code, out, err = stimsynth(
        capsys,
        "ingest",
        tmp_path / "project",
        "--round",
        1,
        "--file",
        tmp_path / "two.h5",
        "--replace",
        "the first was cut",
    )
    assert code == 0, err
    assert difference(read_table(planned.round.responses_path), setting.table(better)) == ""
    record = json.loads(planned.round.ingest_path.read_text(encoding="utf-8"))
    assert "the first was cut" in json.dumps(record)
    kept = [p for p in planned.round.folder.glob("responses*.h5") if p != planned.round.responses_path]
    assert [difference(read_table(p), setting.table(sheet)) for p in kept] == [""], "the earlier table is kept beside"


KEY = """image_id,role,objective,target,confirmatory,reference_for
c1,controller,stretch,v4_001,1,
c2,controller,stretch,v4_002,1,
n1,reference,,,,stretch:v4_001 stretch:v4_002
n2,reference,,,,stretch:v4_001 stretch:v4_002
"""


def test_verdicts_of_loose_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`stimsynth evaluate --responses --key`: keys with one edit each; never "0 of 0 sites" as if it were a result."""
    family = Family("tests/trust/test_commands.py::test_verdicts_of_loose_files", known=KNOWN)
    rng = np.random.default_rng(0)
    images = [i for block in range(4) for i in ("c1", "c2", "n1", "n2") * 4]
    block = np.repeat(np.arange(4), 16)
    values = rng.poisson(
        [[{"c1": 20, "c2": 5, "n1": 6, "n2": 4}[i], {"c1": 4, "c2": 18, "n1": 5, "n2": 6}[i]] for i in images]
    ).astype(float)
    with h5py.File(tmp_path / "r.h5", "w") as file:
        file["responses"] = values
        file.create_dataset("image_id", data=images, dtype=h5py.string_dtype())
        file.create_dataset("site_id", data=["v4_001", "v4_002"], dtype=h5py.string_dtype())
        file["trial/block"], file["trial/rep"] = block, np.concatenate([np.arange(16) // 4 + 4 * b for b in range(4)])
        file.attrs.update(units="spikes", window_ms=[70.0, 170.0])
    edits: dict[str, tuple[str, str]] = {
        "plain": ("taken", KEY),
        "Windows line ends": ("taken", KEY.replace("\n", "\r\n")),
        "TRUE for 1": ("either", KEY.replace(",1,", ",TRUE,")),
        "no reference at all": ("refused", KEY.replace("stretch:v4_001 stretch:v4_002", "")),
        "references for a site alone": ("refused", KEY.replace("stretch:v4_001 stretch:v4_002", "v4_001")),
        "references for another objective": ("refused", KEY.replace("stretch:v4_001 stretch:v4_002", "one_hot:v4_001")),
        "references for no site": ("refused", KEY.replace("stretch:v4_001 stretch:v4_002", "stretch:v4_009")),
        "an unknown objective": ("refused", KEY.replace("controller,stretch", "controller,strech")),
        "an unknown site": ("refused", KEY.replace("stretch,v4_00", "stretch,it_00")),
        "no controllers": ("refused", KEY.replace("controller,stretch", "natural,")),
        "none is confirmatory": ("refused", KEY.replace(",1,", ",0,")),
        "two are confirmatory": ("refused", KEY + "n3,controller,stretch,v4_001,1,\n"),
        "other images": (
            "refused",
            KEY.replace("c1", "x1").replace("c2", "x2").replace("n1", "y1").replace("n2", "y2"),
        ),
    }
    for name, (right, text) in edits.items():
        (tmp_path / "key.csv").write_text(text, encoding="utf-8", newline="")
        code, out, err = stimsynth(
            capsys, "--json", "evaluate", "--responses", tmp_path / "r.h5", "--key", tmp_path / "key.csv"
        )

        def run(code: int = code, out: str = out, err: str = err) -> tuple[Any, list[str]]:
            from protocols.errors import DataError

            if (named := told(code, out, err)) or code == 2:
                raise DataError("command", found=err[-200:], expected="", cause="", fix="", code=named or "W06")
            rows = json.loads(out)["rows"]
            return {r["site"]: (r["verdict"], round(r["measured"] or 0, 6)) for r in rows if r["confirmatory"]}, [out]

        wanted = {
            site: ("control", round(float(np.mean(_corrected(values[:, u], block)[np.array(images) == c])), 6))
            for u, (site, c) in enumerate((("v4_001", "c1"), ("v4_002", "c2")))
        }
        family.judge(Case(name, right, wanted, label=name), run, lambda f, r: "" if f == r else f"{f} in place of {r}")
    family.close(share=0.1)


def _corrected(column: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Block means taken out, the mean of all put back."""
    return np.array([v - column[block == b].mean() + column.mean() for v, b in zip(column, block, strict=True)])
