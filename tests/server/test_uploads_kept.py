"""What arrives is what was announced, whoever is cut, killed or full meanwhile; time and room; a bucket."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, running, uids
from tus_uploads import CONTENT, age, eventually, files_of, head, offset, patch, small_pieces

from datacomp_server import storage as storage_module
from datacomp_server.models import StoredFile, UploadPiece
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.uploads import arrival, housekeeping


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)


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
