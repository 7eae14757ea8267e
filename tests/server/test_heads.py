"""HEAD is answered wherever GET is, as GET is answered, without a body."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest
from server_site import ONLY_SQLITE, Site, uids

pytestmark = ONLY_SQLITE
PATHS = (
    "/", "/boards", "/boards/small-board", "/boards/small-board/rules", "/queue", "/docs", "/submit", "/nowhere",
    "/boards/none", "/account/sign-in", "/healthz", "/api/boards", "/api/boards/none", "/api/openapi.json",
    "/api/leaderboard?board=small-board", "/boards/small-board/leaderboard.csv", "/static/icon.svg", "/metrics",
)  # fmt: skip
VARYING = {"date", "x-request-id", "set-cookie", "etag"}


def comparable(reply: Any) -> tuple[int, dict[str, str]]:
    """Status and headers, but for what differs between two answers, and a length that tells of the moment."""
    headers = {name: value for name, value in reply.headers.items() if name not in VARYING | {"content-length"}}
    return reply.status_code, headers


@pytest.mark.parametrize("path", PATHS)
def test_head_is_answered_as_get(site: Site, path: str) -> None:
    answers = [site.http.request(method, path, follow_redirects=False) for method in ("GET", "HEAD")]
    assert comparable(answers[0]) == comparable(answers[1])
    assert answers[1].content == b""
    assert ("content-length" in answers[0].headers) == ("content-length" in answers[1].headers)


def test_head_needs_what_get_needs(site: Site) -> None:
    assert site.http.head("/api/accounts/me").status_code == 401
    assert site.http.head("/api/accounts/me", headers=site.headers("ada")).status_code == 200
    assert site.http.head("/api/tokens/none").status_code == 405, "there is nothing to get"


def test_streams_end_at_once_and_nothing_is_held(site: Site, address: str) -> None:
    submission = site.submit("ada", uids(1)).id
    began = time.monotonic()
    with httpx.Client(base_url=address, headers=site.headers("ada"), timeout=20) as http:
        for _ in range(3):
            reply = http.head(f"/api/submissions/{submission}/events")
            assert (reply.status_code, reply.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert http.head("/boards/small-board/leaderboard.csv").status_code == 200
        assert http.get("/api/boards").status_code == 200
    assert time.monotonic() - began < 15
    deadline = time.monotonic() + 10
    while site.app.state.turns._value < 32 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert site.app.state.turns._value == 32, "no turn at the database is held"
