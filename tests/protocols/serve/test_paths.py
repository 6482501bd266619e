"""No file outside the project, and none that is no image of it, is served, however the address is written."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.disk.png import SIGNATURE
from protocols.project.folder import Project
from tests.protocols.helpers import decided_project
from tests.protocols.helpers.served_project import application, request

SECRET = b"nobody may see this"
UP = st.sampled_from(
    [
        "..",
        "....",
        ".",
        "",
        "..%2f",
        "%2e%2e",
        "..\\",
        "C:",
        "C:\\",
        "\\\\host\\share",
        "//",
        "~",
        "\0",
        "file:",
        "CON",
        "img_000 ",
        "img_000.",
        "%252e%252e",
        "\u2025",
        "\uff0e\uff0e",
    ]
)
KIND = st.sampled_from(
    [
        "photo",
        "shown/0",
        "shown/1",
        "made/1",
        "made/-1",
        "made/1e9",
        "made/\u0661",
        "shown/99999999999999999999",
        "",
        "/",
        "data",
        "x",
    ]
)
REST = st.lists(
    st.one_of(
        UP,
        st.sampled_from(["project.toml", "secret.txt", "etc/passwd", "decisions.jsonl", "0", "img_000", "natural"]),
        st.text(max_size=6),
    ),
    max_size=5,
)


@pytest.fixture(scope="module")
def beside(still: Project) -> Path:
    secret = still.folder.parent / "secret.txt"
    secret.write_bytes(SECRET)
    return secret


@given(kind=KIND, rest=REST, joined=st.sampled_from(["/", "\\", "%2f"]))
@settings(max_examples=25, deadline=None)
def test_no_address_of_an_image_or_script_leads_elsewhere(
    beside: Path, still: Project, kind: str, rest: list[str], joined: str
) -> None:
    app, _ = _app(still)
    text = joined.join(rest)
    for path in (f"/image/{kind}/{text}", f"/static/{text}", f"/image/{text}", f"/api/view/{text}", f"/{text}"):
        for form in {path, unquote(path), unquote(unquote(path))}:
            answer = request(app, form.encode("utf-8", "surrogatepass").decode("utf-8", "replace"))
            assert SECRET not in answer.data
            assert b"[display]" not in answer.data
            assert answer.status in (200, 403, 404, 405, 422), (form, answer.status)
            if answer.status == 200 and form.startswith("/image/"):
                assert answer.data.startswith(SIGNATURE)


_APPS: dict[Path, object] = {}


def _app(project: Project) -> tuple[object, object]:
    return _APPS.setdefault(project.folder, application(project))  # type: ignore[return-value]


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights here")
def test_a_link_out_of_the_project_is_not_followed(lab: Project) -> None:
    outside = lab.folder.parent / "outside.png"
    outside.write_bytes((lab.data / "natural" / "img_001.png").read_bytes())
    app, _ = application(lab)
    (lab.data / "natural" / "img_000.png").unlink()
    (lab.data / "natural" / "img_000.png").symlink_to(outside)
    assert request(app, "/image/photo/img_000").status == 404
    assert request(app, "/image/photo/img_001").status == 200


def test_images_are_those_of_the_project(still: Project) -> None:
    app, _ = application(still)
    answer = request(app, "/image/photo/img_000", query="full")
    assert answer.data == (still.data / "natural" / "img_000.png").read_bytes()
    again = request(
        app,
        "/image/photo/img_000",
        headers=[("host", "127.0.0.1:8000"), ("if-none-match", answer.headers["etag"])],
        query="full",
    )
    assert (again.status, again.data) == (304, b"")
    assert request(app, "/image/made/1/0").status == 200
    assert request(app, "/image/made/1/6").status == 404


def test_images_of_an_exported_round_stay_closed_until_it_is_told_otherwise(lab: Project) -> None:
    shut, _ = application(lab)
    opened, _ = application(lab, unblinded=True)
    decided_project.exported(lab.round(1))
    assert request(shut, "/image/made/1/0").status == 403
    assert request(opened, "/image/made/1/0").status == 200
    for other in (
        quote("made/1/0", safe=""),
        "made/01/0",
        "made/0000001/0",
        "made/1/00",
        "made/%31/0",
        "made//1/0",
        "/made/1/0",
    ):
        assert request(shut, f"/image/{other}").status in (403, 404), other
    for other in ("made/01/0", "made/0000001/0", "made/1/00"):
        assert request(opened, f"/image/{other}").status == 404, "one image has one address"
    lab.round(1).evaluation_path.write_text("{}")
    assert request(shut, "/image/made/1/0").status == 200


def test_a_query_that_unblinds_reaches_no_view_unless_the_server_was_told_so(lab: Project) -> None:
    from protocols.serve.contents import Page

    seen: list[dict[str, str]] = []
    page = Page("probe", "Probe", lambda project, **query: seen.append(query) or {"ok": 1})
    for unblinded in (False, True):
        app, _ = application(lab, unblinded=unblinded, views=(page,))
        assert request(app, "/api/view/probe", query="unblind=1&site=a&project=x&__class__=y").status == 200
    assert seen == [{"site": "a", "__class__": "y"}, {"unblind": "1", "site": "a", "__class__": "y"}]
