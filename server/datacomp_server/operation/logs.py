"""The server's logs, each line with the request that it belongs to, and the access log.

Nothing that was sent is logged but the path: no query, header or body, because they may hold secrets.
"""

from __future__ import annotations

import logging
import time
from typing import TextIO

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datacomp.logs import LogFormat, log_to
from datacomp_server.requests import current_request
from datacomp_server.settings import Settings

access = logging.getLogger("datacomp_server.access")
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for every few seconds by machines."""


def request_context() -> dict[str, str]:
    """The request that is served now."""
    request = current_request()
    return {"request_id": request.id} if request else {}


def log_as_set(stream: TextIO, settings: Settings) -> None:
    """Send all logs of this process to a stream, in the form that the settings name."""
    log_to(stream, settings.log_format or LogFormat.TEXT, settings.log_level, request_context)


class AccessLog:
    """ASGI middleware that logs every request once its answer is complete."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or scope["path"] in QUIET_PATHS:
            await self.app(scope, receive, send)
            return
        began, status, size = time.perf_counter(), 0, 0

        async def noted(message: Message) -> None:
            nonlocal status, size
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                size += len(message.get("body", b""))
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            took = round(1000 * (time.perf_counter() - began), 1)
            facts = {"method": scope["method"], "path": scope["path"], "status": status, "ms": took, "bytes": size}
            access.info("%s %s %s in %s ms", scope["method"], _plain(scope["path"]), status, took, extra=facts)


def _plain(path: str) -> str:
    """A path without what would break a line of the log."""
    return "".join(character if character.isprintable() else "?" for character in path[:500])
