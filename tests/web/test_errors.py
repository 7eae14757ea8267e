"""Refusals and faults: pages for browsers, JSON for programs, the same headers for all, no traces for anybody."""

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from server_site import write_boards
from starlette.requests import Request
from starlette.responses import Response

from datacomp_server.app import create_app
from datacomp_server.pages.security import HEADERS
from datacomp_server.settings import Settings

HTML = {"Accept": "text/html"}


@pytest.fixture(scope="module")
def http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("errors")
    app = create_app(Settings(data_dir=folder, boards_file=write_boards(folder)))

    def broken(request: Request) -> Response:
        raise RuntimeError("secret detail")

    app.add_route("/broken", broken)
    app.add_route("/api/broken", broken)
    with TestClient(app, raise_server_exceptions=False, follow_redirects=False) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "status", "heading"),
    [
        ("/nowhere", 404, "Not found"),
        ("/submissions/0000000000000000", 404, "Not found"),
        ("/boards/nope", 404, "Not found"),
        ("/leaderboard?track=nope", 422, "Something is wrong with the input"),
        ("/static/nope.css", 404, "Not found"),
        ("/broken", 500, "Something went wrong on our side"),
    ],
)
def test_browsers_get_pages(http: TestClient, path: str, status: int, heading: str) -> None:
    answer = http.get(path, headers=HTML)
    assert answer.status_code == status
    assert f"</span> {heading}</h1>" in answer.text
    assert HEADERS.items() <= dict(zip(HEADERS, map(answer.headers.get, HEADERS), strict=True)).items()
    assert "secret detail" not in answer.text
    assert "Traceback" not in answer.text


def test_programs_get_json(http: TestClient) -> None:
    for path, status in (("/nowhere", 404), ("/api/nowhere", 404), ("/broken", 500), ("/api/broken", 500)):
        answer = http.get(path, headers={"Accept": "*/*"})
        assert answer.status_code == status
        assert [problem["code"] for problem in answer.json()["problems"]]
        assert "secret detail" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert http.get("/api/broken", headers=HTML).headers["content-type"] == "application/json"


@pytest.mark.parametrize("path", ["/account/sign-in", "/account/tokens", "/account/sign-out", "/submissions/a/cancel"])
def test_a_form_without_its_token_is_refused(http: TestClient, path: str) -> None:
    for form in ({}, {"csrf": ""}, {"csrf": "guess"}):
        answer = http.post(path, data=form, headers=HTML)
        assert answer.status_code in {400, 403}, answer.text
        assert "session" not in answer.headers.get("set-cookie", "")


def test_what_is_no_form_is_refused(http: TestClient) -> None:
    for content, kind in ((b"{}", "application/json"), (b"--x", "multipart/form-data"), (b"\xff", "text/plain")):
        answer = http.post("/account/sign-in", content=content, headers={**HTML, "Content-Type": kind})
        assert answer.status_code == 400
    assert http.post("/account/sign-in", data={"name": "x" * 70_000}, headers=HTML).status_code == 413


def test_strangers_are_sent_to_sign_in(http: TestClient) -> None:
    for method, path, target in (
        ("GET", "/submit", "/account/sign-in?next=/submit"),
        ("POST", "/submit", "/account/sign-in?next=/submit"),
        ("GET", "/submit?board=a%26b", "/account/sign-in?next=/submit%3Fboard%3Da%2526b"),
        ("GET", "/account", "/account/sign-in?next=/account"),
    ):
        answer = http.request(method, path, headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, target)
