"""Files that arrive in small pieces: a client of the protocol by hand, and what the server keeps of them."""

import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from server_site import Site, uids

from datacomp.client import Client
from datacomp.messages import SubmissionOut
from datacomp_server import streaming
from datacomp_server.models import Submission, UploadPiece
from datacomp_server.uploads import arrival

TUS = {"Tus-Resumable": "1.0.0"}
CONTENT = uids(1, 5000)
"""80 kB: ten pieces of the size below."""


def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server count what arrives in pieces of 8,000 bytes."""
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


def client_of(site: Site, address: str, name: str = "ada") -> Client:
    return Client(address, site.headers(name)["Authorization"].removeprefix("Bearer "))
