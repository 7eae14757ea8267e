"""Files in pieces: the tus protocol, digests, limits, two clients at once, cut connections, and what is left behind."""

import base64
import hashlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from cutting_proxy import CuttingProxy
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, running, serving, uids, write_boards
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from datacomp.client import Client
from datacomp.messages import SubmissionOut
from datacomp.problems import BadInput
from datacomp_server import storage as storage_module
from datacomp_server import streaming
from datacomp_server.clock import now
from datacomp_server.models import StoredFile, Submission, UploadPiece
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.uploads import arrival, housekeeping

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = uids(1, 5000)
"""80 kB: ten pieces of the size below."""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrival, "PIECE", 8000)
    monkeypatch.setattr(streaming, "BLOCK", 1000)


def address_of(receipt: SubmissionOut) -> str:
    assert receipt.upload is not None
    return receipt.upload


def head(site: Site, receipt: SubmissionOut, name: str | None = "ada") -> Any:
    return site.http.head(address_of(receipt), headers={**TUS, **site.headers(name)})


def patch(site: Site, receipt: SubmissionOut, start: int, body: bytes, name: str | None = "ada", **headers: str) -> Any:
    """`Some_Header="x"` sends `Some-Header`."""
    usual = {"Content-Type": "application/offset+octet-stream", "Upload-Offset": str(start), **TUS}
    given = {key.replace("_", "-"): value for key, value in headers.items()}
    return site.http.patch(address_of(receipt), content=body, headers=usual | given | site.headers(name))


def offset(site: Site, receipt: SubmissionOut) -> int:
    return int(head(site, receipt).headers["Upload-Offset"])


def files_of(site: Site) -> set[str]:
    root = site.settings.data_dir / "storage"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def age(site: Site, seconds: float) -> None:
    """Let time pass for everything that is stored and known."""
    for path in (site.settings.data_dir / "storage").rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)
    with site.database.write() as session:
        for column in (UploadPiece.created_at, Submission.created_at):
            table = column.class_
            for row in session.scalars(sa.select(table)):
                row.created_at -= timedelta(seconds=seconds)


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


# --- the protocol


@ONLY_SQLITE
def test_the_server_says_what_it_can_do(site: Site) -> None:
    reply = site.http.options("/api/submissions/anything/content")
    assert reply.status_code == 204
    assert (reply.headers["Tus-Resumable"], reply.headers["Tus-Version"]) == ("1.0.0", "1.0.0")
    assert set(reply.headers["Tus-Extension"].split(",")) == {"checksum", "expiration", "termination"}
    assert "sha1" in reply.headers["Tus-Checksum-Algorithm"].split(","), "the protocol demands it"


def test_a_file_arrives_in_pieces_and_the_submission_begins(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    begun = head(site, receipt)
    assert (begun.status_code, begun.headers["Upload-Offset"]) == (200, "0")
    assert begun.headers["Upload-Length"] == str(len(CONTENT))
    assert begun.headers["Cache-Control"] == "no-store"
    assert parsedate_to_datetime(begun.headers["Upload-Expires"]) > now()
    for start in range(0, len(CONTENT), 30_000):
        assert site.receipt(receipt.id).state == "uploading"
        reply = patch(site, receipt, start, CONTENT[start : start + 30_000])
        assert (reply.status_code, reply.headers["Tus-Resumable"]) == (204, "1.0.0")
        assert int(reply.headers["Upload-Offset"]) == min(start + 30_000, len(CONTENT)) == offset(site, receipt)
    assert "Upload-Expires" not in reply.headers
    after = site.receipt(receipt.id)
    assert (after.state, after.upload) == ("validating", None)
    assert files_of(site) == {f"uploads/{receipt.id}/content"}
    assert site.worker().must_claim().fetch("upload").content == CONTENT
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(UploadPiece.id))) == 0


@ONLY_SQLITE
def test_opening_names_the_upload(site: Site) -> None:
    reply = site.http.post("/api/submissions", json=site.announce(CONTENT), headers=site.headers("ada"))
    assert reply.headers["Location"] == reply.json()["upload"] == f"/api/submissions/{reply.json()['id']}/content"


@ONLY_SQLITE
def test_a_client_of_the_protocol_that_is_not_ours(site: Site, address: str, tmp_path: Path) -> None:
    receipt = site.open("ada", CONTENT)
    path = tmp_path / "uids.npy"
    path.write_bytes(CONTENT)
    client = TusClient(address, headers=site.headers("ada"))
    with path.open("rb") as file:
        first = client.uploader(file_stream=file, url=address + address_of(receipt), chunk_size=20_000)
        first.upload_chunk()
        first.upload_chunk()
    assert offset(site, receipt) == 40_000
    with path.open("rb") as file:
        second = client.uploader(
            file_stream=file, url=address + address_of(receipt), chunk_size=30_000, upload_checksum=True
        )
        assert second.offset == 40_000
        second.upload()
    assert site.receipt(receipt.id).state == "validating"
    other = site.open("ada", CONTENT[:-1] + b"!")
    with path.open("rb") as file, pytest.raises((TusUploadFailed, TusCommunicationError)):
        client.uploader(file_stream=file, url=address + address_of(other)).upload()


@ONLY_SQLITE
def test_requests_that_do_not_follow_the_protocol_change_nothing(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    patch(site, receipt, 0, CONTENT[:5000])
    part = CONTENT[5000:6000]
    for reply, status, code in (
        (patch(site, receipt, 5000, part, Tus_Resumable="0.2.2"), 412, "tus-version"),
        (patch(site, receipt, 5000, part, Content_Type="application/octet-stream"), 415, "content-type"),
        (patch(site, receipt, 0, part), 409, "upload-offset"),
        (patch(site, receipt, 5001, part), 409, "upload-offset"),
        (patch(site, receipt, 5000, part, Upload_Offset="-1"), 400, "upload-offset-missing"),
        (patch(site, receipt, 5000, part, Upload_Offset="5e3"), 400, "upload-offset-missing"),
        (patch(site, receipt, 5000, CONTENT), 413, "upload-too-large"),
        (patch(site, receipt, 5000, part, Upload_Checksum="crc32 AAAAAA=="), 400, "checksum-unreadable"),
        (patch(site, receipt, 5000, part, Upload_Checksum="sha1 ?"), 400, "checksum-unreadable"),
        (site.http.post(address_of(receipt), headers={**TUS, **site.headers("ada")}), 400, "override-missing"),
    ):
        assert (reply.status_code, codes(reply)) == (status, [code])
        assert reply.headers["Tus-Resumable"] == "1.0.0"
        assert status != 412 or reply.headers["Tus-Version"] == "1.0.0"
    assert patch(site, receipt, 5000, b"").status_code == 204, "nothing is no mistake"
    assert offset(site, receipt) == 5000
    assert head(site, receipt).status_code == 200
    assert site.http.head(address_of(receipt), headers=site.headers("ada")).status_code == 412


@ONLY_SQLITE
def test_more_than_was_announced_is_refused_while_it_comes(site: Site) -> None:
    receipt = site.open("ada", CONTENT)

    def endless() -> Iterator[bytes]:  # no Content-Length: only counting helps
        for _ in range(200):
            yield bytes(1000)

    headers = {**TUS, **site.headers("ada"), "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream"}
    reply = site.http.patch(address_of(receipt), content=endless(), headers=headers)
    assert (reply.status_code, codes(reply)) == (413, ["upload-too-large"])
    assert site.receipt(receipt.id).state == "uploading"


@ONLY_SQLITE
def test_clients_that_cannot_patch_post(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    headers = {**TUS, **site.headers("ada"), "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    headers["Content-Type"] = "application/offset+octet-stream"
    reply = site.http.post(address_of(receipt), content=CONTENT, headers=headers)
    assert reply.status_code == 204
    assert site.receipt(receipt.id).state == "validating"


@ONLY_SQLITE
@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_a_part_with_a_checksum_counts_as_a_whole_or_not_at_all(site: Site, algorithm: str) -> None:
    receipt = site.open("ada", CONTENT)
    part = CONTENT[:30_000]
    right = f"{algorithm} {base64.b64encode(hashlib.new(algorithm, part).digest()).decode()}"
    reply = patch(site, receipt, 0, part[:-1] + b"!", Upload_Checksum=right)
    assert (reply.status_code, codes(reply)) == (460, ["checksum-mismatch"])
    assert offset(site, receipt) == 0
    assert files_of(site) == set()
    assert patch(site, receipt, 0, part, Upload_Checksum=right).status_code == 204
    assert offset(site, receipt) == len(part)


@ONLY_SQLITE
def test_giving_up_cancels_and_refunds(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    patch(site, receipt, 0, CONTENT[:20_000])
    assert site.http.delete(address_of(receipt), headers={**TUS, **site.headers("grace")}).status_code == 403
    assert site.http.delete(address_of(receipt), headers={**TUS, **site.headers("ada")}).status_code == 204
    after = site.receipt(receipt.id)
    assert (after.state, after.quota_refunded) == ("cancelled", True)
    assert head(site, receipt).status_code == 410
    assert patch(site, receipt, 20_000, b"x").status_code == 410
    housekeeping.sweep(site.database, site.storage)
    assert files_of(site) == set()
    sent = site.submit("ada", uids(2))
    gone = site.http.delete(f"/api/submissions/{sent.id}/content", headers={**TUS, **site.headers("ada")})
    assert (gone.status_code, codes(gone)) == (410, ["upload-complete"])


# --- what arrives is what was announced


def test_another_file_than_announced_is_refused_at_its_end_and_may_be_sent_again(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    patch(site, receipt, 0, CONTENT[:40_000])
    reply = patch(site, receipt, 40_000, CONTENT[40_000:-1] + b"!")
    assert (reply.status_code, codes(reply)) == (422, ["upload-digest"])
    assert offset(site, receipt) == 0
    assert files_of(site) == set()
    assert patch(site, receipt, 0, CONTENT).status_code == 204
    assert site.receipt(receipt.id).state == "validating"


def test_of_two_clients_at_one_place_one_is_counted(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    for start in range(0, len(CONTENT), 27_000):
        part = CONTENT[start : start + 27_000]
        with ThreadPoolExecutor(4) as pool:
            statuses = sorted(
                pool.map(lambda _, at=start, body=part: patch(site, receipt, at, body).status_code, range(4))
            )
        assert statuses[0] == 204
        assert set(statuses) <= {204, 409}
    assert site.receipt(receipt.id).state == "validating"
    assert site.worker().must_claim().fetch("upload").content == CONTENT
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(StoredFile.id))) == 1
    assert files_of(site) == {f"uploads/{receipt.id}/content"}


@ONLY_SQLITE
def test_what_arrived_before_the_cut_is_kept(site: Site, address: str) -> None:
    receipt = site.open("ada", CONTENT)
    url = urlsplit(address)
    lines = [
        f"PATCH {receipt.upload} HTTP/1.1",
        "Host: x",
        f"Content-Length: {len(CONTENT)}",
        "Content-Type: application/offset+octet-stream",
        "Upload-Offset: 0",
        "Tus-Resumable: 1.0.0",
        f"Authorization: {site.headers('ada')['Authorization']}",
    ]
    with socket.create_connection((url.hostname or "", url.port or 0)) as cut:
        cut.sendall("\r\n".join([*lines, "", ""]).encode() + CONTENT[:20_500])
        assert eventually(lambda: offset(site, receipt) >= 16_000), "two pieces count while it comes"
    assert eventually(lambda: offset(site, receipt) > 16_000), "and the rest after the cut"
    reached = offset(site, receipt)
    assert reached <= 20_500
    assert patch(site, receipt, reached, CONTENT[reached:]).status_code == 204
    assert site.worker().must_claim().fetch("upload").content == CONTENT


def test_another_server_goes_on_where_the_first_was_killed(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    with running(settings) as site:
        receipt = site.open("ada", CONTENT)
        patch(site, receipt, 0, CONTENT[:33_000])
        tokens = site.tokens
        # What a killed server leaves: a piece that was never counted, and a file that was never finished.
        for key in (f"pieces/{receipt.id}/lost", "parts/lost"):
            site.storage.make_parent(key)
            Path(site.storage.path(key)).write_bytes(b"half")
    with running(settings) as site:
        site.tokens = tokens
        assert offset(site, receipt) == 33_000
        assert patch(site, receipt, 33_000, CONTENT[33_000:]).status_code == 204
        assert site.worker().must_claim().fetch("upload").content == CONTENT
        assert files_of(site) == {f"uploads/{receipt.id}/content", "parts/lost"}
        housekeeping.sweep(site.database, site.storage)
        assert "parts/lost" in files_of(site), "it may still be being written"
        age(site, 2 * 3600)
        housekeeping.sweep(site.database, site.storage)
        assert files_of(site) == {f"uploads/{receipt.id}/content"}


@pytest.mark.parametrize("step", ["_join", "append", "confirm", "sweep_submission"])
@ONLY_SQLITE
def test_a_crash_between_any_two_steps_loses_and_leaves_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    receipt = site.open("ada", CONTENT)
    owner = {"_join": arrival.Arrival, "sweep_submission": arrival}.get(step, arrival.UploadService)

    class Killed(Exception):
        pass

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, die)
        with pytest.raises(Killed):
            patch(site, receipt, 0, CONTENT)
    if step != "sweep_submission":
        reached = offset(site, receipt)
        assert reached == (0 if step == "append" else len(CONTENT) // 8000 * 8000)
        assert patch(site, receipt, reached, CONTENT[reached:]).status_code == 204
    assert site.worker().must_claim().fetch("upload").content == CONTENT
    age(site, 2 * 3600)
    housekeeping.sweep(site.database, site.storage)
    assert files_of(site) == {f"uploads/{receipt.id}/content"}


@ONLY_SQLITE
def test_a_line_that_is_cut_and_a_server_that_is_replaced(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrival, "PIECE", 8 << 20)
    monkeypatch.setattr(streaming, "BLOCK", 1 << 20)
    settings = make_settings()
    write_boards(settings.data_dir, ONE_BOARD.replace("1000000", "100000000"))
    size, path = 20_000_000, tmp_path / "large.npy"
    path.write_bytes(os.urandom(size))
    with running(settings) as site, serving(site.app) as first, serving(site.app) as second:
        proxy = CuttingProxy(urlsplit(first).port or 0, cuts=5, every=size // 6)
        reports: list[int] = []

        def report(done: int, _: int) -> None:
            reports.append(done)
            if done > size // 2:
                proxy.port = urlsplit(second).port or 0

        receipt = client_of(site, proxy.url).submit(path, "small-board", report=report)
        proxy.close()
        assert (receipt.state, reports[-1], proxy.done) == ("validating", size, 5)
        assert Path(site.storage.path(f"uploads/{receipt.id}/content")).read_bytes() == path.read_bytes()
        assert (proxy.received - size) / size < 0.1, "what arrived before a cut is not sent again"


# --- time and room


def test_an_upload_lives_as_long_as_something_comes(site: Site) -> None:
    receipt = site.open("ada", CONTENT)
    long = site.settings.upload_seconds * 0.75
    expires = parsedate_to_datetime(head(site, receipt).headers["Upload-Expires"])
    age(site, long)
    reply = patch(site, receipt, 0, CONTENT[:9000])
    assert parsedate_to_datetime(reply.headers["Upload-Expires"]) >= expires
    age(site, long)
    assert housekeeping.expire_uploads(site.database, site.settings, site.storage) == 0, "something came meanwhile"
    age(site, long)
    assert housekeeping.expire_uploads(site.database, site.settings, site.storage) == 1
    after = site.receipt(receipt.id)
    assert (after.state, after.quota_refunded) == ("cancelled", True)
    housekeeping.sweep(site.database, site.storage)
    assert files_of(site) == set()
    with site.database.read() as session:
        assert session.scalar(sa.select(sa.func.count(UploadPiece.id))) == 0


@contextmanager
def little_room(monkeypatch: pytest.MonkeyPatch, free: int) -> Iterator[None]:
    usage = storage_module.shutil.disk_usage

    def disk_usage(path: str) -> Any:
        return usage(path)._replace(free=free + storage_module.RESERVE)

    with monkeypatch.context() as patched:
        patched.setattr(storage_module.shutil, "disk_usage", disk_usage)
        yield


@ONLY_SQLITE
def test_a_file_for_which_there_is_no_room_is_refused_beforehand(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    body = site.announce(CONTENT)
    with little_room(monkeypatch, 2 * len(CONTENT) - 1):
        reply = site.http.post("/api/submissions", json=body, headers=site.headers("ada"))
        assert (reply.status_code, codes(reply)) == (507, ["storage-full"])
        assert reply.json()["problems"][0]["hint"]
        assert site.http.get("/api/submissions", headers=site.headers("ada")).json() == []
    receipt = site.open("ada", CONTENT)
    with little_room(monkeypatch, len(CONTENT)):
        assert patch(site, receipt, 0, CONTENT).status_code == 507
        assert head(site, receipt).status_code == 200
    with little_room(monkeypatch, 2 * len(CONTENT)):
        assert patch(site, receipt, 0, CONTENT).status_code == 204


@ONLY_SQLITE
def test_a_disk_that_fills_up_meanwhile_costs_one_piece(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    receipt = site.open("ada", CONTENT)
    patch(site, receipt, 0, CONTENT[:40_000])

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Storage, "sync", full)
        reply = patch(site, receipt, 40_000, CONTENT[40_000:])
        assert (reply.status_code, codes(reply)) == (507, ["storage-full"])
    assert offset(site, receipt) == 40_000
    assert len(files_of(site)) == 5
    assert patch(site, receipt, 40_000, CONTENT[40_000:]).status_code == 204


# --- a bucket


@ONLY_SQLITE
def test_pieces_in_an_object_store(make_settings: Callable[..., Settings]) -> None:
    # fsspec's in-memory store: keys, no folders, nothing appended to and nothing renamed in place, as in a bucket.
    with running(make_settings(storage_url="memory://bucket")) as site:
        receipt = site.open("ada", CONTENT)
        patch(site, receipt, 0, CONTENT[:33_000])
        other = site.open("ada", uids(3))
        patch(site, other, 0, uids(3)[:100])
        with site.storage.fs.open(site.storage.path(f"pieces/{other.id}/lost"), "wb") as lost:
            lost.write(b"half")
        assert patch(site, receipt, 33_000, CONTENT[33_000:]).status_code == 204
        assert site.worker().must_claim().fetch("upload").content == CONTENT
        housekeeping.sweep(site.database, site.storage)
        assert len(site.storage.names(f"pieces/{other.id}")) == 2
        site.act("ada", other.id, "cancel")
        housekeeping.sweep(site.database, site.storage)
        assert [key.rpartition("bucket/")[2] for key in site.storage.fs.find(site.storage.root)] == [
            f"uploads/{receipt.id}/content"
        ]
        site.storage.delete_all("uploads")


# --- our own client


def client_of(site: Site, address: str, name: str = "ada") -> Client:
    return Client(address, site.headers(name)["Authorization"].removeprefix("Bearer "))


@ONLY_SQLITE
def test_our_client_goes_on_with_what_it_finds_unfinished(site: Site, address: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.npy"
    path.write_bytes(CONTENT)
    client = client_of(site, address)
    opened = site.open("ada", CONTENT, method="mine", filename="mine.npy")
    patch(site, opened, 0, CONTENT[:50_000])
    seen: list[int] = []
    receipt = client.submit(path, "small-board", report=lambda done, _: seen.append(done))
    assert (receipt.id, receipt.state) == (opened.id, "validating")
    assert seen[0] == 50_000
    assert seen[-1] == len(CONTENT)
    assert client.submit(path, "small-board").id != opened.id, "what is complete is another submission"
    assert client.submit(path, "small-board", method="other").method == "other"


@ONLY_SQLITE
def test_our_client_goes_on_with_a_named_submission_and_the_same_file_only(
    site: Site, address: str, tmp_path: Path
) -> None:
    path, other = tmp_path / "mine.npy", tmp_path / "other.npy"
    path.write_bytes(CONTENT)
    other.write_bytes(uids(9))
    client = client_of(site, address)
    opened = site.open("ada", CONTENT)
    with pytest.raises(BadInput, match="resume-other-file"):
        client.resume(opened.id, other)
    assert client.resume(opened.id, path).state == "validating"
    assert client.resume(opened.id, path).state == "validating", "nothing is left to send"
    ended = site.open("ada", uids(4))
    site.act("ada", ended.id, "cancel")
    path.write_bytes(uids(4))
    with pytest.raises(BadInput, match="upload-too-late"):
        client.resume(ended.id, path)
