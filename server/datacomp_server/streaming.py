"""Bytes in and out of storage without holding them: one block in memory, no database connection meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import StreamingResponse

from datacomp.digests import BLOCK
from datacomp_server.errors import Refusal, TooLarge
from datacomp_server.storage import Storage, Writer

CUT = "the connection ended before the file did"


@dataclass(frozen=True)
class Received:
    """What arrived."""

    digest: str
    size: int


async def receive(
    request: Request, storage: Storage, key: str, *, limit: int | None, accept: Callable[[Received], None]
) -> Received:
    """Stream the request's body to `key`. `accept` may refuse what arrived by raising; then nothing is kept."""
    check_announced(request, limit)
    writer = await run_in_threadpool(storage.writer, key)
    try:
        async for block in blocks(request):
            if limit is not None and writer.size + len(block) > limit:
                raise too_large(limit)
            await run_in_threadpool(writer.write, block)
        received = Received(writer.digest, writer.size)
        accept(received)
        await run_in_threadpool(writer.commit)
    finally:
        await run_in_threadpool(_leave, writer)
    return received


async def measure(request: Request, *, limit: int) -> Received:
    """Digest and size of the request's body, kept nowhere."""
    check_announced(request, limit)
    sha, size = hashlib.sha256(), 0
    async for block in blocks(request):
        size += len(block)
        if size > limit:
            raise too_large(limit)
        await run_in_threadpool(sha.update, block)
    return Received(sha.hexdigest(), size)


def send_file(storage: Storage, key: str, *, name: str, size: int, digest: str) -> StreamingResponse:
    """A stored file as a download."""
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f'attachment; filename="{name}"',
        "ETag": f'"{digest}"',
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(storage.blocks(key), media_type="application/octet-stream", headers=headers)


async def blocks(request: Request) -> AsyncIterator[bytes]:
    """The body in blocks of 1 MiB, so that each hop to a thread is worth it. When the connection is cut, what
    arrived is given out first, then `upload-cut` is raised."""
    pending = bytearray()
    cut = None
    try:
        async for chunk in request.stream():
            pending += chunk
            while len(pending) >= BLOCK:
                yield bytes(pending[:BLOCK])
                del pending[:BLOCK]
    except ClientDisconnect as error:
        cut = error
    if pending:
        yield bytes(pending)
    if cut is not None:
        raise Refusal.of("upload-cut", CUT, hint="ask how far the upload is, and go on from there") from cut


def check_announced(request: Request, limit: int | None) -> None:
    """`TooLarge` when the request says beforehand that it brings more than `limit` bytes."""
    announced = request.headers.get("content-length", "")
    if limit is not None and announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise too_large(limit)


def too_large(limit: int) -> TooLarge:
    """The refusal of a body that goes on after `limit` bytes."""
    return TooLarge.of("upload-too-large", f"more than the {limit} bytes that were announced", where="body")


def _leave(writer: Writer) -> None:
    writer.__exit__(None, None, None)
