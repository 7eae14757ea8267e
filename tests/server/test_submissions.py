"""Opening, uploading, reading and ending submissions; the quota."""

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import sqlalchemy as sa
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, digest, running, uids, write_boards

from datacomp.client import Client
from datacomp.messages import Stage
from datacomp.problems import BadInput
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import QuotaEntry, QuotaState, StoredFile, Submission


@ONLY_SQLITE
def test_opening_gives_a_receipt_that_waits_for_its_file(site: Site) -> None:
    receipt = site.open("ada", b"content", description="what it does", link="https://example.org/paper")
    assert (receipt.state, receipt.final, receipt.runs) == ("uploading", False, [])
    assert receipt.url == f"http://example.test/submissions/{receipt.id}"
    assert (receipt.participant, receipt.size, receipt.digest) == ("ada", 7, digest(b"content"))


@ONLY_SQLITE
def test_everything_that_is_wrong_is_told_at_once(site: Site) -> None:
    body = site.announce(
        b"x", kind="dataset", size=10_000_000, method="  ", filename="../evil.npy", link="javascript:alert(1)"
    )
    reply = site.http.post("/api/submissions", json=body, headers=site.headers("ada"))
    assert reply.status_code == 422
    assert codes(reply) == ["kind-refused", "upload-too-large", "method-blank", "filename-invalid", "link-invalid"]
    assert all(problem["where"] for problem in reply.json()["problems"])


def announced(site: Site, text: str, **changes: object) -> dict:
    content = text.encode()
    return site.announce(content, kind="expression", filename="rule.expr", expression=text) | changes


@ONLY_SQLITE
def test_an_expression_is_parsed_before_it_is_opened(site: Site) -> None:
    for body, expected in (
        (announced(site, "words >"), "rule-invalid"),
        (announced(site, "1 + 1"), "rule-not-a-choice"),
        (announced(site, " "), "rule-empty"),
        (announced(site, "words > 3", expression=None), "expression-missing"),
        (announced(site, "words > 3", expression="words > 4"), "expression-digest"),
        (announced(site, "words > 3", kind="uids"), "expression-misplaced"),
    ):
        reply = site.http.post("/api/submissions", json=body, headers=site.headers("ada"))
        assert (reply.status_code, codes(reply)) == (422, [expected])
    bad = site.http.post("/api/submissions", json=announced(site, "words > 3 )"), headers=site.headers("ada"))
    assert bad.json()["problems"][0]["where"] == "column 11 of: words > 3 )"
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(QuotaEntry)) == 0


@ONLY_SQLITE
def test_an_expression_is_sent_as_a_file_and_goes_to_the_filter(site: Site, tmp_path: Path, address: str) -> None:
    path = tmp_path / "good words.expr"
    path.write_text("words > 3 and basic_filter\n")
    client = Client(address, site.headers("ada")["Authorization"].removeprefix("Bearer "))
    receipt = client.submit(path, "small-board")
    assert (receipt.state, [run.stage for run in receipt.runs][:2]) == ("validating", [Stage.VALIDATE, Stage.FILTER])


@ONLY_SQLITE
def test_unknown_and_closed_boards_are_refused(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings()) as site:
        reply = site.http.post("/api/submissions", json=site.announce(b"x", board="nope"), headers=site.headers("ada"))
        assert (reply.status_code, codes(reply)) == (404, ["board-unknown"])
        site.open("ada", b"x")
        settings = site.settings
    write_boards(settings.data_dir, ONE_BOARD.replace("small-board", "other-board"))
    with running(settings) as site:
        reply = site.http.post("/api/submissions", json=site.announce(b"x"), headers=site.headers("grace"))
        assert (reply.status_code, codes(reply)) == (422, ["board-closed"])


@ONLY_SQLITE
def test_a_malformed_body_is_refused_with_its_fields(site: Site) -> None:
    body = site.announce(b"x", digest="short", size=0) | {"typo": 1}
    reply = site.http.post("/api/submissions", json=body, headers=site.headers("ada"))
    assert reply.status_code == 422
    assert {problem["where"] for problem in reply.json()["problems"]} == {"body.digest", "body.size", "body.typo"}


def test_what_no_database_can_hold_is_refused_or_cleaned(site: Site) -> None:
    headers = {**site.headers("ada"), "Content-Type": "application/json"}
    for body in (b'{"\\ud800": 1}', b'{"method": "\\ud800"}', b"{", b"[]", b"\xff", b'{"size": 1e400}', b""):
        reply = site.http.post("/api/submissions", content=body, headers=headers)
        assert reply.status_code in {400, 422}, body
        assert set(codes(reply)) <= {"request-invalid", "http-error"}
    receipt = site.open("ada", b"x", method="nul \x00 inside", description="\x00")
    assert site.receipt(receipt.id).method == "nul \ufffd inside"
    for address in ("/api/submissions/%00", "/api/boards/%00", "/api/leaderboard?scale=%00", "/api/submissions/%FF"):
        assert site.http.get(address).status_code == 404


# --- uploads


def files_of(site: Site) -> set[str]:
    root = site.settings.data_dir / "storage"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@ONLY_SQLITE
def test_the_file_must_be_the_one_that_was_announced(site: Site) -> None:
    receipt = site.open("ada", b"content")
    for content, status, expected in (
        (b"CONTENT", 422, ["upload-digest"]),
        (b"short", 422, ["upload-size", "upload-digest"]),
        (b"content and more", 413, ["upload-too-large"]),
    ):
        reply = site.send("ada", receipt.id, content)
        assert (reply.status_code, codes(reply)) == (status, expected)
    assert site.receipt(receipt.id).state == "uploading"
    assert files_of(site) == set(), "nothing half-written is kept"
    assert site.send("ada", receipt.id, b"content").json()["state"] == "validating"
    assert files_of(site) == {f"uploads/{receipt.id}/content"}


def test_sending_a_confirmed_file_again_changes_nothing(site: Site) -> None:
    receipt = site.submit("ada", b"content")
    again = site.send("ada", receipt.id, b"content")
    assert again.status_code == 200
    assert [run["id"] for run in again.json()["runs"]] == [run.id for run in receipt.runs]
    other = site.send("ada", receipt.id, b"CONTENT")
    assert (other.status_code, codes(other)) == (422, ["upload-digest"])
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(StoredFile.id))) == 1


@ONLY_SQLITE
def test_a_cut_upload_is_sent_again_whole(site: Site, address: str) -> None:
    content = uids(1, 20_000)
    receipt = site.open("ada", content)
    url = urlsplit(address)
    head = f"PUT /api/submissions/{receipt.id}/content HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
    head += f"Authorization: {site.headers('ada')['Authorization']}\r\n\r\n"
    with socket.create_connection((url.hostname or "", url.port or 0)) as cut:
        cut.sendall(head.encode() + content[: len(content) // 2])
        assert eventually(lambda: files_of(site) != set()), "the server is writing"
    assert eventually(lambda: files_of(site) == set()), "nothing half-written is kept"
    assert site.receipt(receipt.id).state == "uploading"
    assert site.send("ada", receipt.id, content).json()["state"] == "validating"


def test_two_uploads_at_once_are_confirmed_once(site: Site) -> None:
    content = uids(2, 1000)
    receipt = site.open("ada", content)
    headers = site.headers("ada")

    def send(_: int) -> int:
        return site.http.put(f"/api/submissions/{receipt.id}/content", content=content, headers=headers).status_code

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(send, range(4))) == [200] * 4
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(StoredFile.id))) == 1
    assert len(site.receipt(receipt.id).runs) == 4


@ONLY_SQLITE
def test_an_upload_after_the_end_is_refused(site: Site) -> None:
    receipt = site.open("ada", b"content")
    assert site.act("ada", receipt.id, "cancel").json()["state"] == "cancelled"
    reply = site.send("ada", receipt.id, b"content")
    assert (reply.status_code, codes(reply)) == (410, ["upload-too-late"])


@ONLY_SQLITE
def test_the_clients_way_through_the_interface(site: Site, address: str, tmp_path: Path) -> None:
    client = Client(address, client_token(site, "ada"))
    path = tmp_path / "mine.npy"
    path.write_bytes(uids(3))
    sent: list[tuple[int, int]] = []
    receipt = client.submit(path, "small-board", report=lambda done, total: sent.append((done, total)))
    assert (receipt.state, receipt.method, receipt.filename) == ("validating", "mine", "mine.npy")
    assert sent[-1] == (path.stat().st_size, path.stat().st_size)
    assert client.board_of("tiny").name == "small-board"
    by_scale, by_name = client.leaderboard(scale="tiny"), client.leaderboard(board="small-board")
    shown = [[row.submission for row in board.under_way] for board in (by_scale, by_name)]
    assert shown == [[receipt.id], [receipt.id]]
    with pytest.raises(BadInput, match="manifest-not-yet"):
        client.manifest(receipt.id)
    assert client.cancel(receipt.id).state == "cancelled"
    with pytest.raises(BadInput, match="not-scored"):
        client.withdraw(receipt.id)


def client_token(site: Site, name: str) -> str:
    return site.headers(name)["Authorization"].removeprefix("Bearer ")


# --- reading


@ONLY_SQLITE
def test_a_receipt_is_for_whoever_has_its_address_but_logs_of_code_are_not(site: Site) -> None:
    receipt = site.submit("ada", b"code", kind="code", filename="f.py")
    attempt = site.worker().work_until(Stage.FILTER)
    attempt.beat(log="printed by the filter\n")
    assert attempt.fail("participant", "filter-raised").status_code == 204
    for name, log, tail in (("ada", "printed", "the tail"), ("organiser", "printed", "the tail"), (None, "", "")):
        shown = site.receipt(receipt.id, name)
        assert shown.state == "failed"
        assert shown.failure is not None
        assert (shown.failure.problems[0].code, shown.failure.log_tail) == ("filter-raised", tail)
        assert shown.runs[1].log_tail.startswith(log)
        assert bool(shown.runs[1].log_tail) == bool(log)
    assert site.http.get("/api/submissions/0123456789abcdef").status_code == 404


@ONLY_SQLITE
def test_people_list_their_own_submissions_newest_first(site: Site) -> None:
    first, second = site.open("ada", b"1"), site.open("ada", b"2", rehearsal=True)
    site.open("grace", b"3")
    lines = site.http.get("/api/submissions", headers=site.headers("ada")).json()
    assert [(line["id"], line["rehearsal"], line["state"]) for line in lines] == [
        (second.id, True, "uploading"),
        (first.id, False, "uploading"),
    ]
    page = site.http.get("/api/submissions?limit=1&offset=1", headers=site.headers("ada")).json()
    assert [line["id"] for line in page] == [first.id]


def test_withdrawing_takes_a_scored_submission_off_its_board(site: Site) -> None:
    receipt = site.score("ada", uids(4))
    assert [row.submission for row in site.board().rows] == [receipt.id]
    assert site.act("ada", receipt.id, "cancel").status_code == 409
    assert site.act("ada", receipt.id, "withdraw").json()["state"] == "withdrawn"
    assert site.act("ada", receipt.id, "withdraw").status_code == 200
    assert site.board().rows == []
    assert site.receipt(receipt.id).score is not None


# --- quota


@pytest.fixture
def one_place(make_settings: Callable[..., Settings]):
    settings = make_settings()
    write_boards(settings.data_dir, ONE_BOARD.replace("submissions_per_day = 20", "submissions_per_day = 1"))
    with running(settings) as site:
        yield site


def test_one_place_is_given_to_one_of_many_at_once(one_place: Site) -> None:
    headers = one_place.headers("ada")
    barrier = threading.Barrier(12)

    def open_one(number: int) -> int:
        barrier.wait()
        body = one_place.announce(str(number).encode())
        return one_place.http.post("/api/submissions", json=body, headers=headers).status_code

    with ThreadPoolExecutor(12) as pool:
        statuses = sorted(pool.map(open_one, range(12)))
    assert statuses == [201] + [429] * 11
    with one_place.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(Submission.id))) == 1
        assert session.scalar(sa.select(sa.func.count(QuotaEntry.submission_id))) == 1


def test_rehearsals_other_people_and_refunds_have_places_of_their_own(one_place: Site) -> None:
    first = one_place.open("ada", b"1")
    refused = one_place.http.post("/api/submissions", json=one_place.announce(b"2"), headers=one_place.headers("ada"))
    assert (refused.status_code, codes(refused)) == (429, ["quota-spent"])
    one_place.open("ada", b"3", rehearsal=True)
    one_place.open("grace", b"4")
    assert one_place.act("ada", first.id, "cancel").json()["quota_refunded"] is True
    second = one_place.open("ada", b"5")
    with one_place.database.read() as session:
        states = {entry.submission_id: entry.state for entry in session.scalars(sa.select(QuotaEntry))}
    assert states[first.id] is QuotaState.REFUNDED
    assert states[second.id] is QuotaState.RESERVED


def test_more_requests_at_once_than_threads_and_connections_all_get_their_answer(site: Site, address: str) -> None:
    """Each holds a transaction and still needs a thread to make its answer: nobody may wait for somebody who waits."""
    headers = [site.headers(f"person-{number}") for number in range(10)]

    def submit(number: int) -> int:
        body = site.announce(uids(number), method=f"method {number}")
        with httpx.Client(base_url=address, timeout=60) as client:
            return client.post("/api/submissions", json=body, headers=headers[number % 10]).status_code

    with ThreadPoolExecutor(120) as pool:
        assert Counter(pool.map(submit, range(120))) == {201: 120}
