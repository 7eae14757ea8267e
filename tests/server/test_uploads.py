"""Files in pieces: the tus protocol, digests and limits."""

import base64
import hashlib
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, codes, uids
from tus_uploads import (
    CONTENT,
    TUS,
    address_of,
    files_of,
    head,
    offset,
    patch,
    small_pieces,
)
from tusclient.client import TusClient
from tusclient.exceptions import TusCommunicationError, TusUploadFailed

from datacomp_server.clock import now
from datacomp_server.models import UploadPiece
from datacomp_server.uploads import housekeeping


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    small_pieces(monkeypatch)


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
