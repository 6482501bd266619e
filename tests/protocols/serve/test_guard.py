"""Who may ask: the token, the name of the server, the origin of a decision; and what every answer carries."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.project.folder import Project
from protocols.serve.guard import METHODS, MOST_BODY, allowed_host
from tests.protocols.helpers.served_project import HOST, TOKEN, application, request

HERE = [("host", HOST)]
NAME = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=12)


def test_only_who_knows_the_token_is_answered_and_it_leaves_the_address(still: Project) -> None:
    app, _ = application(still)
    for path in ("/", "/api/status", "/api/view/board", "/static/shell.js", "/image/photo/img_000", "/nothing"):
        assert request(app, path, token=False).status == 403, path
    for wrong in ("", "x", TOKEN[:-1], TOKEN + "x", "\u00e9", TOKEN.upper()):
        assert request(app, "/", headers=[*HERE, ("cookie", f"stimsynth_8000={wrong}")], token=False).status == 403
        assert request(app, "/", query=f"token={wrong}", token=False).status == 403
    entered = request(app, "/", query=f"token={TOKEN}", token=False)
    assert (entered.status, entered.headers["location"]) == (303, "/")
    assert entered.headers["set-cookie"] == f"stimsynth_8000={TOKEN}; Path=/; HttpOnly; SameSite=Strict"
    cookie = entered.headers["set-cookie"].split(";")[0]
    assert request(app, "/", headers=[*HERE, ("cookie", f"a=b; {cookie}")], token=False).status == 200
    assert request(app, "/api/status", query=f"token={TOKEN}", token=False).status == 403


def test_every_answer_forbids_scripts_of_others_and_frames(still: Project) -> None:
    app, _ = application(still)
    for path, token in (
        ("/", True),
        ("/", False),
        ("/api/view/board", True),
        ("/static/x", True),
        ("/api/status", True),
    ):
        headers = request(app, path, token=token).headers
        assert "default-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "access-control-allow-origin" not in headers


@given(
    name=NAME,
    top=st.sampled_from(["com", "local", "localhost", "127.0.0.1"]),
    port=st.sampled_from(["", ":80", ":8000"]),
)
@settings(max_examples=60, deadline=None)
def test_a_name_of_somebody_else_is_not_answered(name: str, top: str, port: str) -> None:
    assert not allowed_host(f"{name}.{top}{port}", ["localhost"])
    assert not allowed_host(f"localhost@{name}.{top}", ["localhost"])


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8123", "localhost:1", "LOCALHOST", "[::1]:8000", "192.168.1.7:8000"]
)
def test_its_own_names_are_answered(host: str) -> None:
    assert allowed_host(host, ["localhost"])


@pytest.mark.parametrize("host", ["", "evil.example", "127.0.0.1.evil.example", "[::1", "localhost/x", "a b", "rig-pc"])
def test_no_host_or_another_is_refused(still: Project, host: str) -> None:
    app, _ = application(still)
    assert not allowed_host(host, ["localhost"])
    assert request(app, "/api/status", headers=[("host", host)]).status == 421
    assert request(app, "/api/status", headers=[]).status == 421
    assert request(app, "/api/status", headers=[*HERE, ("host", host)]).status == 421


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_other_methods_are_refused(still: Project, method: str) -> None:
    assert method not in METHODS
    assert request(application(still)[0], "/", method=method).status == 405


def test_a_decision_needs_the_origin_of_this_server(still: Project) -> None:
    app, _ = application(still)
    body, cookie = b"{}", ("cookie", f"stimsynth_8000={TOKEN}")

    def post(*headers: tuple[str, str], token: bool = False) -> int:
        return request(
            app, "/api/decide", method="POST", headers=[*HERE, cookie, *headers], body=body, token=token
        ).status

    own = ("origin", f"http://{HOST}")
    assert post(own) == 403  # passed on: this server shows only
    assert (
        "shows only"
        in request(app, "/api/decide", method="POST", headers=[*HERE, cookie, own], body=body, token=False).json[
            "error"
        ]
    )
    for origin in (
        "http://evil.example",
        "null",
        "http://127.0.0.1:9000",
        f"http://{HOST}.evil.example",
        "http://localhost:8000",
    ):
        assert post(("origin", origin)) == 403
        answer = request(
            app, "/api/decide", method="POST", headers=[*HERE, cookie, ("origin", origin)], body=body, token=False
        )
        assert b"page of this server" in answer.data
    assert (
        b"page of this server"
        in request(app, "/api/decide", method="POST", headers=[*HERE, cookie], body=body, token=False).data
    )
    assert (
        b"page of this server"
        in request(
            app, "/api/decide", method="POST", headers=[*HERE, own, ("sec-fetch-site", "cross-site")], body=body
        ).data
    )
    assert "shows only" in request(app, "/api/decide", method="POST", headers=HERE, body=body).json["error"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("content-type", "text/plain"), ("content-length", "2")], 415),
        ([("content-type", "application/json")], 413),
        ([("content-type", "application/json"), ("content-length", str(MOST_BODY + 1))], 413),
        ([("content-type", "application/json"), ("content-length", "-1")], 413),
        ([("content-type", "application/json"), ("content-length", "9" * 5000)], 413),
    ],
)
def test_what_is_posted_is_json_of_a_stated_size(still: Project, headers: list[tuple[str, str]], status: int) -> None:
    assert request(application(still)[0], "/api/decide", method="POST", headers=[*HERE, *headers]).status == status
