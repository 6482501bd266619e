"""Outboxes that were altered, forged, copied over shares or sprinkled with dot files: the right table or a refusal."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from protocols.project.folder import Project
from protocols.project.outbox import read_images
from protocols.recordings.ingest import ingest
from protocols.status import status_of
from tests.trust.helpers.outcome import Case, Family, Place, contents
from tests.trust.helpers.rounds import Planned, answer, make_round
from tests.trust.helpers.sheet import Form, difference, read_table, table_of, write

KNOWN: dict[str, str] = {}
Edit = Callable[[Path], None]


@pytest.fixture
def planned(tmp_path: Path) -> Planned:
    """A waiting round with a faithful answer in its inbox; its outbox may be written to."""
    made = make_round(tmp_path / "project")
    for path in [made.round.outbox, *made.round.outbox.rglob("*"), *made.round.sealed.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    sheet = answer(made, np.random.default_rng(0))
    sheet.about = {}
    write(made.round.inbox / "responses.h5", sheet, Form())
    (made.round.inbox / "responses.h5.done").touch()
    return made


def redo(outbox: Path) -> None:
    """Checksums of the files as they are now."""
    listed = [line.split("  ", 1)[1] for line in (outbox / "checksums.sha256").read_text().splitlines()]
    lines = [
        f"{hashlib.sha256((outbox / n).read_bytes()).hexdigest()}  {n}\n" for n in listed if (outbox / n).is_file()
    ]
    (outbox / "checksums.sha256").write_text("".join(lines))


def try_all(family: Family, planned: Planned, cases: dict[str, tuple[str, Edit]]) -> None:
    """Edit, ingest, judge, put back."""
    place = Place(planned.round.folder.parents[2])
    sheet = answer(planned, np.random.default_rng(0))
    wanted = table_of(sheet, first=planned.sites) | {"planned": len(set(planned.trials))}
    project = Project.open(place.folder)
    for name, (right, edit) in cases.items():
        edit(planned.round.outbox)
        before = contents(place.folder)
        case = Case(name.split(":")[0], right, wanted, label=name)

        def run() -> tuple[dict[str, Any], list[str]]:
            report = ingest(planned.round)
            return read_table(planned.round.responses_path) | {"planned": report.planned}, report.notes

        def compare(found: dict[str, Any], right: dict[str, Any]) -> str:
            if found["planned"] != right["planned"]:
                return f"{found['planned']} planned trials in place of {right['planned']}"
            return difference(found, right)

        taken = family.judge(case, run, compare)
        after = contents(place.folder)
        changed = [n for n in after.keys() | before.keys() if after.get(n) != before.get(n)]
        if not taken and changed:
            family.fail(case, f"a refused answer changed {changed[:3]}")
        look = Case("status", "either", None, label=name)
        family.judge(look, lambda: (status_of(project), []), lambda *_: "")
        pictures = Case("images", "either", None, label=name)
        family.judge(pictures, lambda: (read_images(planned.round.outbox), []), lambda *_: "")
        for folder in [p for p in place.folder.rglob("*") if p.is_dir() and p.name in ("order.csv", "manifest.json")]:
            shutil.rmtree(folder)
        place.restore()


def bytes_of(name: str, change: Callable[[bytes], bytes], *, again: bool = False) -> Edit:
    """Change the bytes of one file of the outbox; again: with the checksums redone."""

    def edit(outbox: Path) -> None:
        (outbox / name).write_bytes(change((outbox / name).read_bytes()))
        if again:
            redo(outbox)

    return edit


def text_of(name: str, change: Callable[[str], str], *, again: bool = True) -> Edit:
    """Change the text of one file of the outbox."""
    return bytes_of(name, lambda data: change(data.decode()).encode(), again=again)


def test_altered_outboxes(planned: Planned) -> None:
    """Any file that is not the one of the export is seen; files that no export made and that mean nothing do no harm."""
    family = Family("tests/trust/test_outbox.py::test_altered_outboxes", known=KNOWN)
    rng = np.random.default_rng(3)
    outbox = planned.round.outbox
    names = sorted(p.relative_to(outbox).as_posix() for p in outbox.rglob("*") if p.is_file())
    cases: dict[str, tuple[str, Edit]] = {"as exported": ("taken", lambda o: None)}

    def flip(data: bytes) -> bytes:
        at = int(rng.integers(len(data)))
        return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]

    for name in names:
        ready = name == "_READY"
        right = "either" if ready or name == "checksums.sha256" else "refused"
        cases[f"gone: {name}"] = ("refused", lambda o, n=name: (o / n).unlink())
        if not ready:
            cases[f"cut: {name}"] = (right, bytes_of(name, lambda d: d[: len(d) // 2]))
            cases[f"flipped: {name}"] = (right, bytes_of(name, flip))
            cases[f"emptied: {name}"] = ("refused", bytes_of(name, lambda d: b""))
            cases[f"longer: {name}"] = (right, bytes_of(name, lambda d: d + b"\n"))
            cases[f"Windows line ends: {name}"] = ("either", bytes_of(name, lambda d: d.replace(b"\n", b"\r\n")))
    harmless = [
        ".DS_Store",
        "._manifest.json",
        "._r01_0001_3tus.png",
        "Thumbs.db",
        "desktop.ini",
        ".smbdeleteA1",
        "~$order.csv",
        "._x.png",
        ".nfs0001",
    ]
    for place in ("", "images/", "../inbox/", "../sealed/", "../", "../../", "../../../../data/"):
        for name in harmless:
            cases[f"dot files: {place}{name}"] = (
                "taken",
                lambda o, n=place + name: (o / n).write_bytes(b"\0\5\x16\7" + bytes(50)),
            )
    cases["an image more"] = (
        "refused",
        lambda o: (o / "images" / "r01_0099_zzzz.png").write_bytes(next((o / "images").glob("*.png")).read_bytes()),
    )
    cases["sealed: key edited"] = ("refused", lambda o: (o.parent / "sealed/key.csv").write_bytes(b"image_id,role\n"))
    cases["sealed: sites edited"] = (
        "refused",
        lambda o: (o.parent / "sealed/sites.csv").write_bytes(
            (o.parent / "sealed/sites.csv").read_bytes().replace(b"8.0", b"9.0")
        ),
    )
    cases["sealed: key gone"] = ("refused", lambda o: (o.parent / "sealed/key.csv").unlink())
    try_all(family, planned, cases)
    family.close(share=0.4)


SUMS: dict[str, tuple[str, Callable[[str], str]]] = {
    "in another order": ("taken", lambda t: "\n".join(sorted(t.splitlines())[::-1]) + "\n"),
    "Windows line ends": ("either", lambda t: t.replace("\n", "\r\n")),
    "capitals": ("either", lambda t: "\n".join(line[:64].upper() + line[64:] for line in t.splitlines()) + "\n"),
    "binary marks": ("either", lambda t: t.replace("  ", " *")),
    "tabs": ("either", lambda t: t.replace("  ", "\t")),
    "empty lines": ("either", lambda t: t + "\n\n"),
    "a comment": ("either", lambda t: "# made at the rig\n" + t),
    "a line twice": ("either", lambda t: t + t.splitlines()[0] + "\n"),
    "a line less": ("either", lambda t: "\n".join(t.splitlines()[1:]) + "\n"),
    "byte order mark": ("either", lambda t: "﻿" + t),
    "out of the folder": ("refused", lambda t: t + "0" * 64 + "  ../../../project.toml\n"),
    "absolute": ("refused", lambda t: t + "0" * 64 + "  /etc/passwd\n"),
    "a drive": ("refused", lambda t: t + "0" * 64 + "  C:/x\n"),
    "a missing file": ("refused", lambda t: t + "0" * 64 + "  images/none.png\n"),
    "a wrong sum": ("refused", lambda t: "0" * 64 + t[64:]),
    "no sums": ("refused", lambda t: ""),
    "text": ("refused", lambda t: "all is well\n"),
    "a zero byte": ("refused", lambda t: t + "0" * 64 + "  images/\0.png\n"),
    "a long name": ("refused", lambda t: t + "0" * 64 + "  " + "x" * 5000 + "\n"),
    "a folder": ("refused", lambda t: t + "0" * 64 + "  images\n"),
}
ORDER: dict[str, tuple[str, Callable[[list[str]], list[str]]]] = {
    "a line twice": ("either", lambda ls: [*ls, ls[1]]),
    "all lines twice": ("either", lambda ls: [*ls, *ls[1:]]),
    "a line less": ("refused", lambda ls: ls[:-1]),
    "no lines": ("refused", lambda ls: ls[:1]),
    "no header": ("refused", lambda ls: ls[1:]),
    "in another order": ("either", lambda ls: [ls[0], *ls[:0:-1]]),
    "an empty line": ("either", lambda ls: [*ls, ""]),
    "an unknown image": ("refused", lambda ls: [*ls, ls[1].replace(ls[1].split(",")[3], "r01_0099_zzzz")]),
    "a word for a number": ("refused", lambda ls: [ls[0], "x" + ls[1][ls[1].index(","):], *ls[2:]]),
    "a row too short": ("refused", lambda ls: [*ls[:-1], ls[-1].split(",")[0]]),
    "a name out of the folder": ("either", lambda ls: [ls[0], *[line.replace("images/", "../../../") for line in ls[1:]]]),
    "a column more": ("either", lambda ls: [ls[0] + ",note", *[line + ",x" for line in ls[1:]]]),
    "a column less": ("refused", lambda ls: [",".join(line.split(",")[:3] + line.split(",")[4:]) for line in ls]),
    "decimal commas": ("refused", lambda ls: [ls[0], *[line + ",5" for line in ls[1:]]]),
    "semicolons": ("either", lambda ls: [line.replace(",", ";") for line in ls]),
}  # fmt: skip


def test_forged_outboxes(planned: Planned) -> None:
    """Checksums redone after an edit: the table stays right, or the outbox is refused."""
    family = Family("tests/trust/test_outbox.py::test_forged_outboxes", known=KNOWN)
    cases: dict[str, tuple[str, Edit]] = {}
    for name, (right, change) in SUMS.items():
        cases[f"checksums: {name}"] = (right, text_of("checksums.sha256", change, again=False))
    cases["checksums: UTF-16"] = ("either", bytes_of("checksums.sha256", lambda d: d.decode().encode("utf-16")))
    cases["checksums: binary"] = ("refused", bytes_of("checksums.sha256", lambda d: bytes(range(256))))
    for name, (right, rows) in ORDER.items():
        change = lambda t, rows=rows: "\n".join(rows(t.splitlines())) + "\n"  # noqa: E731
        cases[f"order: {name}"] = (right, text_of("order.csv", change))
    for name, encoding in (("byte order mark", "utf-8-sig"), ("UTF-16", "utf-16"), ("latin", "cp500")):
        cases[f"order: {name}"] = (
            "either",
            bytes_of("order.csv", lambda d, e=encoding: d.decode().encode(e), again=True),
        )
    manifest = json.loads((planned.round.outbox / "manifest.json").read_text())
    for key in manifest:
        for value in ("gone", None, [], {}, "text", 7, [None], {"a": None}):
            cases[f"manifest: {key} = {value!r}"] = (_right_of(key, value), _manifest(key, value))
    for key in manifest["images"][0]:
        for value in ("gone", None, [], "../../x", 7):
            cases[f"manifest: images[0].{key} = {value!r}"] = ("either", _manifest(("images", 0, key), value))
    for key in manifest["timing"]:
        for value in ("gone", None, [], "x"):
            cases[f"manifest: timing.{key} = {value!r}"] = ("either", _manifest(("timing", key), value))
    deep = b'{"schema": "manifest/1", "x": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    cases["manifest: deep"] = ("refused", bytes_of("manifest.json", lambda d: deep, again=True))
    cases["manifest: NaN"] = ("either", bytes_of("manifest.json", lambda d: d.replace(b"100.0", b"NaN"), again=True))
    cases["manifest: byte order mark"] = (
        "either",
        bytes_of("manifest.json", lambda d: b"\xef\xbb\xbf" + d, again=True),
    )
    cases["manifest: UTF-16"] = ("either", bytes_of("manifest.json", lambda d: d.decode().encode("utf-16"), again=True))
    cases["manifest: a list"] = ("refused", bytes_of("manifest.json", lambda d: b"[]", again=True))
    cases["manifest: huge number"] = (
        "either",
        bytes_of("manifest.json", lambda d: d.replace(b'"round": 1', b'"round": 1' + b"0" * 5000), again=True),
    )
    try_all(family, planned, cases)
    family.close(share=0.2)


def _right_of(key: str, value: Any) -> str:
    return "refused" if key in ("schema", "images") else "either"


def _manifest(path: Any, value: Any) -> Edit:
    """Set or remove an entry of the manifest; the checksums are redone."""
    keys = (path,) if isinstance(path, str) else path

    def edit(outbox: Path) -> None:
        whole = json.loads((outbox / "manifest.json").read_text())
        node = whole
        for key in keys[:-1]:
            node = node[key]
        if value == "gone":
            del node[keys[-1]]
        else:
            node[keys[-1]] = value
        (outbox / "manifest.json").write_text(json.dumps(whole))
        redo(outbox)

    return edit


def test_records_of_an_ingest(planned: Planned) -> None:
    """A damaged ingest.json: the same answer may be ingested again, or the record is refused by its code."""
    family = Family("tests/trust/test_outbox.py::test_records_of_an_ingest", known=KNOWN)
    ingest(planned.round)
    place = Place(planned.round.folder.parents[2])
    project = Project.open(place.folder)
    record = json.loads(planned.round.ingest_path.read_text())
    wanted = table_of(answer(planned, np.random.default_rng(0)), first=planned.sites)
    texts: dict[str, bytes] = {
        "empty": b"",
        "cut": planned.round.ingest_path.read_bytes()[:90],
        "a list": b"[]",
        "null": b"null",
        "binary": bytes(range(256)),
    }
    for key in record:
        for value in ("gone", None, [], {}, "text", 7, -1.5):
            changed = {k: v for k, v in record.items() if k != key} if value == "gone" else record | {key: value}
            texts[f"{key} = {value!r}"] = json.dumps(changed).encode()
    for name, data in texts.items():
        planned.round.ingest_path.write_bytes(data)

        def run() -> tuple[dict[str, Any], list[str]]:
            report = ingest(planned.round)
            report.summary()
            status_of(project)
            return read_table(planned.round.responses_path), report.notes

        family.judge(Case("ingest.json", "either", wanted, label=name), run, difference)
        place.restore()
    family.close(share=0.2)


def test_order_files_say_what_is_counted(planned: Planned) -> None:
    """The plan that the harness reads with csv alone is the one of the manifest."""
    text = (planned.round.outbox / "order.csv").read_text()
    rows = list(csv.DictReader(io.StringIO(text)))
    assert (
        len(rows)
        == len(set(planned.trials))
        == json.loads((planned.round.outbox / "manifest.json").read_text())["counts"]["trials"]
    )
