"""A server in a thread: many who poll, two who decide at once, a project that is written meanwhile."""

from __future__ import annotations

import http.client
import threading
import time
from typing import Any

import pytest

from protocols.disk.locks import hold
from protocols.disk.working import tell_progress, working
from protocols.errors import DataError
from protocols.project.decisions.record import read_decisions
from protocols.project.folder import Project
from protocols.serve.start import check_libraries, listen
from tests.protocols.helpers import decided_project
from tests.protocols.helpers.served_project import application, ask, request, serving

CLIENTS, SECONDS = 50, 0.9


def test_fifty_who_poll_are_all_answered_while_the_project_is_written(lab: Project) -> None:
    """By hand, for a minute: `python scripts/studies/serve_polling.py PROJECT`."""
    failed: list[Any] = []
    counts = [0] * CLIENTS
    end = time.monotonic() + SECONDS

    def writer() -> None:
        while time.monotonic() < end:
            lab.round(1).log("test", text=decided_project.HOSTILE)
            (lab.fitted / "for_round_01.json").write_text((lab.fitted / "for_round_01.json").read_text())
            time.sleep(0.05)

    def client(i: int) -> None:
        connection, tags = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20), dict[str, str]()
        while time.monotonic() < end:
            for path in ("/api/status", "/api/view/board", "/api/view/log"):
                answer = ask(connection, path, address.token, tag=tags.get(path, ""))
                if answer.status not in (200, 304):
                    failed.append((path, answer.status, answer.data[:200]))
                tags[path] = answer.headers.get("etag", "")
                counts[i] += 1
        connection.close()

    with serving(lab) as (address, behind):
        threads = [threading.Thread(target=client, args=(i,)) for i in range(CLIENTS)] + [
            threading.Thread(target=writer)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failed
        assert min(counts) >= 3
        assert behind.live.built <= 2 * (SECONDS + 3)  # status and board, once a second, not once per client
        assert behind.kept["log"].built <= SECONDS + 3


def test_two_browsers_that_decide_at_once_lose_nothing(lab: Project) -> None:
    outcomes: list[int] = []
    sites = [["v4_000", "v4_001", "v4_002"], ["v4_002", "v4_001", "v4_000"]]
    began = threading.Barrier(2)

    def person(i: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20)
        seen = 0
        began.wait()
        for site in sites[i]:
            while True:
                body = {"action": "stop", "who": f"p{i}", "reason": site, "sites": [site], "expected": seen}
                answer = ask(connection, "/api/decide", address.token, body=body)
                outcomes.append(answer.status)
                if answer.status == 409:
                    assert {d["who"] for d in answer.json["since"]} == {f"p{1 - i}"}
                    seen = answer.json["sequence"]
                    continue
                assert answer.status == 200, answer.data
                seen = answer.json["sequence"]
                break
        connection.close()

    with serving(lab, decisions=True) as (address, _):
        people = [threading.Thread(target=person, args=(i,)) for i in range(2)]
        for thread in people:
            thread.start()
        for thread in people:
            thread.join()
        connection = http.client.HTTPConnection("127.0.0.1", address.port, timeout=20)
        told = ask(connection, "/api/view/decisions", address.token).json["data"]
        connection.close()
    kept = read_decisions(lab.folder)
    assert [d.sequence for d in kept] == list(range(1, 7))
    assert sorted((d.who, d.reason) for d in kept) == sorted((f"p{i}", s) for i in range(2) for s in sites[i])
    assert outcomes.count(200) == 6
    assert told["sequence"] == 6
    assert told["stopped"] == ["v4_000", "v4_001", "v4_002"]


def test_a_decision_over_the_page_says_what_was_wrong(lab: Project) -> None:
    app, _ = application(lab, decisions=True)

    def decide(text: str) -> tuple[int, str]:
        answer = request(app, "/api/decide", method="POST", body=text.encode())
        return answer.status, answer.json.get("error", "")

    for text in ("{", "[]", "null", "3", '{"action": 3}', '{"action": "veto"}', '{"expected": true}', '{"expected": 0, "x": 1}',
                 '{"expected": 0, "sites": [1]}', '{"expected": 0, "sites": "v4_000"}', "[" * 60000):  # fmt: skip
        assert decide(text)[0] == 400, text
    status, words = decide('{"action": "veto", "image": "c0001", "who": "ann", "reason": "", "expected": 0}')
    assert (status, "reason is not a text" in words) == (422, True)
    assert decide('{"action": "veto", "image": "c0001", "who": "ann", "reason": "r", "expected": 7}')[0] == 409
    assert (
        decide('{"action": "veto", "image": "c0001", "who": "ann", "reason": "r", "expected": 0, "made": "1-1"}')[0]
        == 422
    )
    (lab.folder / "decisions.jsonl").write_text("{}\n")
    assert "S10" in decide('{"action": "veto", "image": "c0001", "who": "ann", "reason": "r", "expected": 0}')[1]
    assert request(app, "/api/view/decisions").json["code"] == "S10"
    assert "S10" in request(app, "/api/status").json["summary"]


def test_who_works_on_the_project_and_how_far_is_told(lab: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    assert working(lab.folder) is None
    app, _ = application(lab, decisions=True)
    report = tell_progress(lab.folder)
    report("fitting", 1, 4)
    assert not (lab.folder / "cache" / "working.json").exists()
    with hold(lab.folder, "fit"):
        report("fitting", 2, 4)
        found = request(app, "/api/status").json["working"]
        assert (found["command"], found["step"]["done"], found["step"]["total"]) == ("fit", 2, 4)
        (lab.folder / "cache" / "working.json").write_text("{")
        assert working(lab.folder)["step"] is None
        body = b'{"action": "stop", "sites": ["v4_000"], "who": "ann", "reason": "r", "expected": 0}'
        monkeypatch.setattr("protocols.disk.locks.PATIENCE_S", 0.1)
        answers: list[Any] = []
        other = threading.Thread(target=lambda: answers.append(request(app, "/api/decide", method="POST", body=body)))
        other.start()
        other.join()
        assert answers[0].status == 503
        assert "S08" in answers[0].json["error"]
    assert working(lab.folder) is None


def test_a_damaged_project_is_told_and_the_rest_is_shown(lab: Project) -> None:
    app, _ = application(lab)
    (lab.folder / "project.toml").write_text("[display\n")
    board = request(app, "/api/view/board")
    assert board.status == 200
    assert "C03" in " ".join(board.json["data"]["faults"])
    lab.round(1).controllers_path.write_bytes(b"not HDF5")
    assert request(app, "/api/view/gallery").json["error"]
    assert request(app, "/image/made/1/0").status == 404


def test_what_is_missing_or_in_use_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    first = listen()
    with pytest.raises(DataError, match="S21"):
        listen(port=first.port)
    with pytest.raises(DataError, match="S21"):
        listen("no such host.invalid")
    assert first.local
    assert first.url.startswith(f"http://127.0.0.1:{first.port}/?token=")
    second = listen()
    assert second.token != first.token
    second.bound.close()
    monkeypatch.setattr("protocols.serve.start.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"S20.*pip install 'stimsynth\[serve\]'"):
        check_libraries()
    first.bound.close()
