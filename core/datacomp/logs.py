"""Logs of server and workers: lines for people, or JSON for machines, each with what it belongs to."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TextIO

TEXT = "%(asctime)s %(levelname)s %(name)s%(mark)s: %(message)s"
LOUD = ("alembic", "authlib", "httpcore", "httpcore2", "httpx", "httpx2", "multipart", "uvicorn.access")
"""Loggers of libraries that tell of every step."""

Context = Callable[[], Mapping[str, str]]
"""What the lines that are written now belong to, by name: a request, a run."""


class LogFormat(StrEnum):
    """How log lines are written."""

    TEXT = "text"
    JSON = "json"


class ContextFilter(logging.Filter):
    """Adds to every line what it belongs to."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context

    def filter(self, record: logging.LogRecord) -> bool:
        """Always lets the line pass."""
        found = self.context()
        record.mark = f" [{' '.join(found.values())}]" if found else ""
        for name, value in found.items():
            setattr(record, name, value)
        return True


def log_to(stream: TextIO, form: LogFormat, level: str, context: Context) -> None:
    """Send all logs of this process to a stream. JSON: one object a line with time, level, logger, message, the context
    and what the line adds as `extra`."""
    handler = logging.StreamHandler(stream)
    handler.addFilter(ContextFilter(context))
    handler.setFormatter(_json_lines() if form is LogFormat.JSON else logging.Formatter(TEXT))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.WARNING)


def _json_lines() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # comes with the extras whose processes write logs

    return JsonFormatter(
        "{levelname}{name}{message}",
        style="{",
        rename_fields={"levelname": "level", "name": "logger"},
        timestamp="time",
        reserved_attrs=[*logging.makeLogRecord({}).__dict__, "message", "asctime", "mark"],
    )
