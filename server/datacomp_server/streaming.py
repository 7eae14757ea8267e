"""Bytes in and out of storage without holding them: one block in memory, no database connection meanwhile."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from datacomp.digests import BLOCK
from datacomp_server.errors import Refusal, TooLarge
from datacomp_server.storage import Storage, Writer


@dataclass(frozen=True)
class Received:
    """What arrived."""

    digest: str
    size: int


async def receive(
    request: Request, storage: Storage, key: str, *, limit: int | None, accept: Callable[[Received], None]
) -> Received:
    """Stream the request's body to `key`. `accept` may refuse what arrived by raising; then nothing is kept."""
    _check_announced(request, limit)
    writer = await run_in_threadpool(storage.writer, key)
    try:
        async for block in _blocks(request):
            if limit is not None and writer.size + len(block) > limit:
                raise _too_large(limit)
            await run_in_threadpool(writer.write, block)
        received = Received(writer.digest, writer.size)
        accept(received)
        await run_in_threadpool(writer.commit)
    finally:
        await run_in_threadpool(_leave, writer)
    return received


async def measure(request: Request, *, limit: int) -> Received:
    """Digest and size of the request's body, kept nowhere."""
    _check_announced(request, limit)
    sha, size = hashlib.sha256(), 0
    async for block in _blocks(request):
        size += len(block)
        if size > limit:
            raise _too_large(limit)
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


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body in blocks of about 1 MiB, so that each hop to a thread is worth it."""
    pending = bytearray()
    try:
        async for chunk in request.stream():
            pending += chunk
            if len(pending) >= BLOCK:
                yield bytes(pending)
                pending.clear()
    except ClientDisconnect as error:
        raise Refusal.of(
            "upload-cut", "the connection ended before the file did", hint="send the file again"
        ) from error
    if pending:
        yield bytes(pending)


def _check_announced(request: Request, limit: int | None) -> None:
    announced = request.headers.get("content-length", "")
    if limit is not None and announced.isascii() and announced.isdigit() and int(announced) > limit:
        raise _too_large(limit)


def _too_large(limit: int) -> TooLarge:
    return TooLarge.of("upload-too-large", f"more than the {limit} bytes that were announced", where="body")


def _leave(writer: Writer) -> None:
    writer.__exit__(None, None, None)
