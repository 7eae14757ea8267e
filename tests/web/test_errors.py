"""Refusals and faults: pages for browsers, JSON for programs, the same headers for all, no traces for anybody."""

import socket
import time
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient
from page_reading import read
from server_site import write_boards
from site_place import Running, npy
from starlette.requests import Request
from starlette.responses import Response

from datacomp.problems import PlatformFault
from datacomp_server.app import create_app
from datacomp_server.pages.security import HEADERS
from datacomp_server.settings import Settings
from datacomp_server.storage import Writer

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


def csrf_of(html: str) -> str:
    return next(element["value"] for element in read(html).elements if element["name"] == "csrf")


@pytest.fixture(scope="module")
def member(http: TestClient) -> Iterator[TestClient]:
    """Somebody signed in."""
    form = {"csrf": csrf_of(http.get("/account/register").text), "name": "member", "password": "correct horse battery"}
    assert http.post("/account/register", data=form).status_code == 303
    yield http
    http.cookies.clear()


@pytest.mark.parametrize("announced", [True, False], ids=["announced", "chunked"])
def test_a_form_over_the_limit_is_told_so_at_its_field(member: TestClient, announced: bool) -> None:
    def blocks() -> Iterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="uids.npy"\r\n\r\n'
        for _ in range(100):
            yield bytes(100_000)
        yield b"\r\n--x--\r\n"

    headers = {**HTML, "Content-Type": "multipart/form-data; boundary=x"}
    if announced:
        headers["Content-Length"] = "10000080"
    answer = member.post("/submit", content=blocks(), headers=headers)
    assert answer.status_code == 413
    page = read(answer.text)
    assert "The form is larger than 1,065,536 bytes" in next(e for e in page.elements if e["id"] == "wrong-file").text
    assert page.all("option")[0]["value"] == "small-board"


def test_a_full_temporary_folder_is_our_fault_and_costs_nothing(
    member: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("datacomp_server.pages.formfile.TemporaryDirectory", full)
    form = {"csrf": csrf_of(member.get("/submit").text), "board": "small-board", "kind": "uids", "method": "kept"}
    answer = member.post("/submit", data=form, files={"file": ("uids.npy", b"x" * 16)}, headers=HTML)
    assert answer.status_code == 503
    assert "No space left on device" in answer.text
    assert 'value="kept"' in answer.text
    assert "Nothing yet" in member.get("/account").text


def test_a_storage_that_fails_refunds_the_quota(member: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    form = {"csrf": csrf_of(member.get("/submit").text), "board": "small-board", "kind": "uids", "method": "unlucky"}

    def full(self: Writer) -> None:
        raise PlatformFault.of("storage-full", "it is full")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "commit", full)
        answer = member.post("/submit", data=form, files={"file": ("uids.npy", npy(3, "unlucky"))}, headers=HTML)
    assert answer.status_code == 503
    assert "It is full" in answer.text
    lines = member.get("/account").text
    receipt = member.get(next(e["href"] for e in read(lines).all("a") if e["href"].startswith("/submissions/"))).text
    assert 'class="state off">cancelled' in receipt
    assert "Your quota was refunded" in receipt


def test_strangers_are_sent_to_sign_in(http: TestClient) -> None:
    http.cookies.clear()
    for method, path, target in (
        ("GET", "/submit", "/account/sign-in?next=/submit"),
        ("POST", "/submit", "/account/sign-in?next=/submit"),
        ("GET", "/submit?board=a%26b", "/account/sign-in?next=/submit%3Fboard%3Da%2526b"),
        ("GET", "/account", "/account/sign-in?next=/account"),
    ):
        answer = http.request(method, path, headers=HTML)
        assert (answer.status_code, answer.headers["location"]) == (303, target)


def test_a_connection_that_ends_within_a_form_is_no_fault(running: Running, caplog: pytest.LogCaptureFixture) -> None:
    host, port = running.url.removeprefix("http://").split(":")
    head = f"POST /account/sign-in HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=x\r\n"
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"{head}Content-Length: 5000\r\n\r\n--x\r\n".encode())
    for _ in range(5):
        assert running.site.http.get("/").status_code == 200
        time.sleep(0.05)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
