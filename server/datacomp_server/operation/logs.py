"""Logs: lines for people, or JSON for machines, each with the request that it belongs to.

Nothing that was sent is logged but the path: no query, header or body, because they may hold secrets.
"""

from __future__ import annotations

import logging
import time
from typing import TextIO

from pythonjsonlogger.json import JsonFormatter
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from datacomp_server.requests import current_request
from datacomp_server.settings import LogFormat, Settings

access = logging.getLogger("datacomp_server.access")
TEXT = "%(asctime)s %(levelname)s %(name)s%(mark)s: %(message)s"
QUIET_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked for every few seconds by machines."""
LOUD = ("alembic", "authlib", "httpcore", "httpcore2", "httpx", "httpx2", "multipart", "uvicorn.access")


class RequestFilter(logging.Filter):
    """Adds the request's id to every line that is logged while it is served."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the line pass."""
        request = current_request()
        record.request_id = request.id if request else None
        record.mark = f" [{request.id}]" if request else ""
        return True


class JsonLines(JsonFormatter):
    """One JSON object a line: time, level, logger, message, request_id, and what the line adds as `extra`."""

    def __init__(self) -> None:
        super().__init__(
            "{levelname}{name}{message}{request_id}",
            style="{",
            rename_fields={"levelname": "level", "name": "logger"},
            timestamp="time",
            reserved_attrs=[*logging.makeLogRecord({}).__dict__, "message", "asctime", "mark"],
        )


def log_to(stream: TextIO, settings: Settings) -> None:
    """Send all logs of this process to a stream, in the form that the settings name."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(RequestFilter())
    handler.setFormatter(JsonLines() if settings.log_format is LogFormat.JSON else logging.Formatter(TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)


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
