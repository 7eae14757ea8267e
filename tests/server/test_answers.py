"""Ready answers: made once for many readers, never too old, never lost in a race."""

import threading
import time
from collections.abc import Callable

import pytest
from server_site import ONLY_SQLITE, running, uids
from starlette.requests import Request

from datacomp_server.leaderboard import answers as module
from datacomp_server.leaderboard.answers import Answers
from datacomp_server.settings import Settings


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": raw})


def test_an_answer_is_made_once_while_it_is_fresh() -> None:
    made: list[int] = []
    kept = Answers(fresh=60)
    for _ in range(3):
        answer = kept.get("a", "text/plain", lambda: bytes([made.append(1) or len(made)]))
    assert (answer.body, made) == (b"\x01", [1])
    assert answer.response(request()).status_code == 200
    assert answer.response(request(if_none_match=answer.etag)).status_code == 304
    assert answer.response(request(if_none_match='"other"')).body == b"\x01"


def test_without_a_time_to_keep_it_every_answer_is_new() -> None:
    kept = Answers(fresh=0)
    assert [kept.get("a", "text/plain", lambda n=n: bytes([n])).body for n in (1, 2)] == [b"\x01", b"\x02"]


def test_an_old_answer_is_made_anew_in_the_background_and_a_very_old_one_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Answers(fresh=0.01)
    kept.get("a", "text/plain", lambda: b"old")
    time.sleep(0.02)
    begun, go_on = threading.Event(), threading.Event()

    def slowly() -> bytes:
        begun.set()
        assert go_on.wait(10)
        return b"new"

    assert kept.get("a", "text/plain", slowly).body == b"old"
    assert begun.wait(10)
    assert kept.get("a", "text/plain", lambda: b"never").body == b"old"  # it is being made already
    monkeypatch.setattr(module, "STALE", 0.0)
    results: list[bytes] = []
    waiter = threading.Thread(target=lambda: results.append(kept.get("a", "text/plain", lambda: b"newer").body))
    waiter.start()
    waiter.join(0.1)
    assert waiter.is_alive()  # too old to be handed out: it waits
    go_on.set()
    waiter.join(10)
    assert results[0] in {b"new", b"newer"}
    kept.close()


def test_what_fails_in_the_background_is_told_to_who_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = Answers(fresh=0.01)
    kept.get("a", "text/plain", lambda: b"old")
    time.sleep(0.02)
    assert kept.get("a", "text/plain", lambda: bytes([1 // 0])).body == b"old"
    kept.close()  # waits for what is under way
    assert "an answer could not be made anew" in caplog.text
    monkeypatch.setattr(module, "STALE", 0.0)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", "text/plain", lambda: bytes([1 // 0]))


def test_the_least_recently_asked_for_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 2)
    kept = Answers(fresh=60)
    for key in ("a", "b", "a", "c"):
        kept.get(key, "text/plain", lambda: b"1")
    assert kept.get("a", "text/plain", lambda: b"2").body == b"1"
    assert kept.get("b", "text/plain", lambda: b"2").body == b"2"


def test_a_failure_is_not_kept() -> None:
    kept = Answers(fresh=60)
    with pytest.raises(ZeroDivisionError):
        kept.get("a", "text/plain", lambda: bytes([1 // 0]))
    assert kept.get("a", "text/plain", lambda: b"1").body == b"1"


@ONLY_SQLITE
def test_readers_share_an_answer_and_people_who_are_signed_in_get_their_own(
    make_settings: Callable[..., Settings],
) -> None:
    with running(make_settings(board_cache_seconds=60)) as site:
        first = site.http.get("/boards/small-board")
        json = site.http.get("/api/leaderboard?board=small-board")
        site.score("ada", uids(1), method="a new method")
        assert site.http.get("/boards/small-board").text == first.text
        assert site.http.get("/api/leaderboard?board=small-board").json() == json.json()
        assert "set-cookie" not in first.headers
        again = site.http.get("/boards/small-board", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert "a new method" in site.http.get("/boards/small-board?sort=date").text
        assert site.http.get("/boards/none").status_code == 404
