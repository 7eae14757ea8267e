"""Bytes on their way in: stored piece by piece as they come, put together and checked when the last one is here.

No database connection is held while bytes come in. A piece is stored under a name of its own and then counted in a
short transaction, so that nothing needs a lock: of two clients at the same place the second one's piece is not counted.
When a connection is cut, what had arrived counts; when the server is killed, all but the piece that was coming in.

The last piece is counted by the transaction that confirms the file: an upload is never complete without being
confirmed, and whoever finds it incomplete sends one piece once more.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from datacomp.problems import BadInput, DatacompError, PlatformFault
from datacomp_server.accounts.service import Viewer
from datacomp_server.clock import new_id
from datacomp_server.database import Database
from datacomp_server.errors import ChecksumMismatch, Refusal
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage, Writer
from datacomp_server.streaming import Received, blocks, check_announced, too_large
from datacomp_server.uploads.housekeeping import sweep_submission
from datacomp_server.uploads.models import UploadPiece, piece_key
from datacomp_server.uploads.service import UploadService, UploadStatus, begin_again, misplaced

log = logging.getLogger(__name__)
PIECE = 8 << 20
"""Bytes after which a piece is stored and counted: the most that a killed server loses."""
ALGORITHMS = ("sha256", "sha1")
"""Checksums of single requests; the tus protocol demands sha1."""


@dataclass(frozen=True)
class Checksum:
    """What the bytes of one request must add up to."""

    algorithm: str
    expected: bytes

    @classmethod
    def parse(cls, header: str) -> Checksum | None:
        """The header `Upload-Checksum`; None when it is empty. `Refusal` when it cannot be read."""
        if not header:
            return None
        algorithm, _, encoded = header.strip().partition(" ")
        try:
            expected = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            expected = b""
        if algorithm not in ALGORITHMS or len(expected) != hashlib.new(algorithm, usedforsecurity=False).digest_size:
            hint = f"algorithm and base64, for instance `sha256 ...`; known: {', '.join(ALGORITHMS)}"
            raise Refusal.of("checksum-unreadable", "the checksum cannot be read", "Upload-Checksum", hint)
        return cls(algorithm, expected)


_under_way: Counter[str] = Counter()
"""Requests that bring something just now, by submission, in this process."""
SETTLE_SECONDS = 2.0


async def settled(submission: str) -> None:
    """Wait a moment for requests that still bring something: of a line that was cut, the end is on its way through here
    when the client asks how far it is, and would be sent twice."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while _under_way[submission] and time.monotonic() < deadline:
        await asyncio.sleep(0.02)


@dataclass
class Arrival:
    """One request that brings a part of a file."""

    database: Database
    settings: Settings
    storage: Storage
    viewer: Viewer
    submission: str
    offset: int = 0
    """Where the upload goes on."""
    expires: datetime | None = None
    _writer: Writer | None = field(default=None, init=False)
    _piece: str = field(default="", init=False)

    def status(self) -> UploadStatus:
        """How far the upload is."""
        with self.database.read() as session:
            return UploadService(session, self.settings, self.storage).status(self.viewer, self.submission)

    async def take(self, request: Request, start: int, checksum: Checksum | None) -> None:
        """Store and count the body, which begins at `start`. Afterwards `offset` says how far the upload is."""
        await settled(self.submission)
        _under_way[self.submission] += 1
        try:
            await self._take(request, start, checksum)
        finally:
            _under_way[self.submission] -= 1
            if not _under_way[self.submission]:
                del _under_way[self.submission]

    async def _take(self, request: Request, start: int, checksum: Checksum | None) -> None:
        status = await run_in_threadpool(self.status)
        self.offset, self.expires = status.offset, status.expires
        if start != status.offset:
            raise misplaced(status.offset, start)
        size = status.expected.size
        check_announced(request, size - start)
        await run_in_threadpool(self.storage.require_room, 2 * size - start)  # its pieces, and the file made of them
        sha = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        try:
            async for block in blocks(request):
                if self.offset + (self._writer.size if self._writer else 0) + len(block) > size:
                    raise too_large(size - start)
                if sha:
                    sha.update(block)
                await run_in_threadpool(self._write, block)
                # With a checksum the body counts as a whole or not at all.
                if not sha and self._writer and self._writer.size >= PIECE:
                    await run_in_threadpool(self._keep, status)
            if sha and checksum and sha.digest() != checksum.expected:
                raise ChecksumMismatch.of("checksum-mismatch", WRONG_SUM, "body", "send this part again")
            await run_in_threadpool(self._keep, status)
        except Refusal as refusal:
            if refusal.problems[0].code == "upload-cut" and not sha:
                await run_in_threadpool(self._keep, status)
            raise
        finally:
            await run_in_threadpool(self._leave)

    def _write(self, block: bytes) -> None:
        if self._writer is None:
            self._piece = new_id()
            key = piece_key(self.submission, self._piece)
            self.storage.make_parent(key)
            self._writer = self.storage.writer(key, part=key)
        self._writer.write(block)

    def _keep(self, status: UploadStatus) -> None:
        """Store and count what has been written; with the last byte, put the file together."""
        writer = self._writer
        if writer is None:
            return
        writer.commit()
        self._writer = None
        piece = UploadPiece(id=self._piece, submission_id=self.submission, start=self.offset, size=writer.size)
        end, key = piece.end, piece.key
        try:
            if end == status.expected.size:
                self._complete(status, piece)
                self.expires = None
            else:
                self.expires = self._count(piece)
        except Exception:
            with suppress(PlatformFault):
                self.storage.delete(key)
            raise
        self.offset = end

    def _count(self, piece: UploadPiece) -> datetime:
        with self.database.write() as session:
            return UploadService(session, self.settings, self.storage).append(self.viewer, piece)

    def _complete(self, status: UploadStatus, last: UploadPiece) -> None:
        """One pass over all pieces makes the file and its digest; then the submission begins."""
        with self.database.read() as session:
            parts = UploadService(session, self.settings, self.storage).parts(last)
        try:
            received = self._join(status, parts)
        except BadInput as error:
            with self.database.write() as session:
                UploadService(session, self.settings, self.storage).restart(self.viewer, self.submission)
            for key in parts:
                self.storage.delete(key)
            raise begin_again(error) from error
        with self.database.write() as session:
            UploadService(session, self.settings, self.storage).confirm(self.viewer, self.submission, received)
        try:
            sweep_submission(self.database, self.storage, self.submission)
        except DatacompError as error:  # the file is confirmed; the dispatcher finds what is left
            log.warning("pieces of %s are left to the dispatcher: %s", self.submission, error)

    def _join(self, status: UploadStatus, parts: list[str]) -> Received:
        with self.storage.writer(status.expected.key) as whole:
            for key in parts:
                for block in self.storage.blocks(key):
                    whole.write(block)
            received = Received(whole.digest, whole.size)
            status.expected.check(received)
            whole.commit()
        return received

    def _leave(self) -> None:
        if self._writer is not None:
            self._writer.__exit__(None, None, None)
            self._writer = None


WRONG_SUM = "the bytes that arrived do not have the checksum that was given"
