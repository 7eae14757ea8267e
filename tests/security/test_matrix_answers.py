"""What all answers have in common: headers, cookies, and where they lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pytest
from page_table import common, look, own_token
from peopled_site import PASSWORDS, Peopled, form_token, peopled
from server_site import serving


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peopled]:
    with peopled(tmp_path_factory.mktemp("answers")) as made:
        made.site.http.follow_redirects = False
        yield made


AWAY = [
    "//evil.test", "///evil.test", "/\\evil.test", "\\\\evil.test", "https://evil.test", "http:evil.test",
    "https:/evil.test", "javascript:alert(1)", "data:text/html,x", "evil.test", "@evil.test", "/\t/evil.test",
    "/\n/evil.test", "\t//evil.test", " //evil.test", "/ /evil.test", "/%0d%0aSet-Cookie:x=y\r\nX: y",
    "/\x00/evil.test", "/.\\evil.test", "\u2028//evil.test", "",
]  # fmt: skip
PATHS = ["//evil.test/", "//evil.test/%2e%2e", "/account/", "/boards//evil.test/", "/submissions/%0d%0aX:y"]


@pytest.mark.parametrize("target", AWAY)
def test_nobody_is_led_away(place: Peopled, target: str) -> None:
    headers, csrf = own_token(place, "nobody")
    shown = look(place, "/account/sign-in", headers, params={"next": target})
    assert shown.status_code == 200
    assert "evil.test" not in shown.text
    fields = {"name": "grace", "password": PASSWORDS["grace"], "next": target, "csrf": csrf}
    reply = place.site.http.post("/account/sign-in", data=fields, headers=headers)
    assert reply.status_code == 303
    assert reply.headers["location"].startswith("/")
    assert list(common(reply)) == []
    assert "evil" not in urlsplit(httpx.URL("http://testserver").join(reply.headers["location"]).host).path
    elsewhere = look(place, "/account/with/github", headers, params={"next": target})
    assert urlsplit(elsewhere.headers["location"]).netloc == "github.com"
    assert "evil" not in elsewhere.headers["location"]
    place.restore()


@pytest.mark.parametrize(
    "path", ["//evil.test/", "//evil.test/%2e%2e", "/account/", "/boards//evil.test/", "/submissions/%0d%0aX:y"]
)
def test_paths_lead_nowhere_else(place: Peopled, path: str) -> None:
    reply = place.site.http.get("http://testserver" + path)
    assert reply.headers.get("location", "/").removeprefix("http://testserver").startswith("/")
    assert not reply.headers.get("location", "/").removeprefix("http://testserver").startswith("//")


def answers(place: Peopled) -> dict[str, Callable[[], Any]]:
    """One answer of every class."""
    http = place.site.http
    board = "/boards/small-board"

    def unchanged(path: str) -> Any:
        return http.get(path, headers={"If-None-Match": "*"})

    return {
        "page 200": lambda: http.get(board),
        "page 304": lambda: unchanged(board),
        "page 404": lambda: http.get("/nothing", headers={"Accept": "text/html"}),
        "page 405": lambda: http.put("/boards", headers={"Accept": "text/html"}),
        "json 200": lambda: http.get("/api/boards"),
        "json 304": lambda: unchanged("/api/leaderboard?board=small-board"),
        "json 401": lambda: http.get("/api/accounts/me"),
        "json 404": lambda: http.get("/api/nothing"),
        "json 405": lambda: http.put("/api/boards"),
        "json 422": lambda: http.get("/api/leaderboard"),
        "json 415": lambda: http.post("/api/accounts", content=b"\xff", headers={"Content-Type": "text/plain"}),
        "file 200": lambda: http.get("/static/icon.svg"),
        "file 304": lambda: unchanged("/static/icon.svg"),
        "file 404": lambda: http.get("/static/none.css"),
        "head": lambda: http.head("/static/icon.svg"),
        "csv": lambda: http.get(f"{board}/leaderboard.csv"),
        "parquet": lambda: http.get(f"{board}/leaderboard.parquet"),
        "stream": lambda: http.get(f"/api/submissions/{place.submissions['scored']}/events"),
        "openapi": lambda: http.get("/api/openapi.json"),
        "redirect": lambda: http.get("/submit"),
        "metrics": lambda: http.get("/metrics"),
        "health": lambda: http.get("/healthz"),
        "tus": lambda: http.options(f"/api/submissions/{place.submissions['uploading']}/content"),
    }


def test_all_classes_of_answers_carry_the_headers(place: Peopled) -> None:
    for what, make in answers(place).items():
        reply = make()
        assert list(common(reply)) == [], what
        if "304" in what:
            assert reply.status_code == 304, what


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
def test_faults_carry_the_headers_and_say_nothing(place: Peopled, accept: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp_server.boards.service import BoardService

    def fail(*_: object) -> None:
        raise RuntimeError("what is inside: secret-of-the-inside")

    monkeypatch.setattr(BoardService, "list_boards", fail)
    monkeypatch.setattr(BoardService, "board", fail)
    with serving(place.site.app) as url:
        for path in ("/api/boards", "/boards/small-board/rules"):
            reply = httpx.get(url + path, headers={"Accept": accept})
            assert reply.status_code == 500
            assert list(common(reply)) == []
            assert "secret-of-the-inside" not in reply.text
            assert "Traceback" not in reply.text


@pytest.mark.security
def test_cookies_are_for_https_alone_where_the_site_is(tmp_path_factory: pytest.TempPathFactory) -> None:
    with peopled(tmp_path_factory.mktemp("secure"), public_url="https://example.test") as place:
        page = look(place, "/account/sign-in", {})
        cookie = page.headers["set-cookie"].partition(";")[0]
        form = {"csrf": form_token(page.text), "name": "ada", "password": PASSWORDS["ada"]}
        signed_in = place.site.http.post(
            "/account/sign-in", data=form, headers={"Cookie": cookie}, follow_redirects=False
        )
        elsewhere = place.site.http.get("/account/with/github?next=" + quote("/team"), follow_redirects=False)
        for reply, name in (
            (page, "datacomp_form"),
            (signed_in, "datacomp_session"),
            (elsewhere, "datacomp_elsewhere"),
        ):
            found = [each.lower() for each in reply.headers.get_list("set-cookie") if each.startswith(name)]
            assert found, name
            assert all("; secure" in each and "httponly" in each and "samesite=lax" in each for each in found)
