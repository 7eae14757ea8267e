"""Ready answers of the last seconds: what a hundred readers ask for is made once.

An answer younger than `fresh` is handed out as it is. An older one is made anew by the one request that finds it old,
while the others still get the old one, up to `stale`; then everybody waits for the new one.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

MOST = 256
STALE = 5.0


@dataclass(frozen=True)
class Answer:
    """The bytes of an answer. `etag` is of their content."""

    body: bytes
    media_type: str
    etag: str
    made_at: float

    def response(self, request: Request) -> Response:
        """The answer, or 304 to whoever has it already."""
        headers = {"ETag": self.etag, "Cache-Control": "no-cache", "Vary": "Cookie, Authorization"}
        known = request.headers.get("if-none-match", "")
        if known == "*" or self.etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type=self.media_type, headers=headers)


class Answers:
    """Answers by address, the least recently asked for forgotten first. Safe to use from many threads."""

    def __init__(self, fresh: float) -> None:
        self.fresh = fresh
        self._kept: OrderedDict[str, Answer] = OrderedDict()
        self._guard = threading.Lock()
        self._making: dict[str, threading.Lock] = {}

    def get(self, key: str, media_type: str, make: Callable[[], bytes]) -> Answer:
        """The answer to `key`, made by `make` where there is none young enough."""
        found, age = self._look(key)
        if found is not None and age < self.fresh:
            return found
        with self._guard:
            lock = self._making.setdefault(key, threading.Lock())
        if found is not None and age < STALE and not lock.acquire(blocking=False):
            return found
        if found is None or age >= STALE:
            lock.acquire()
        try:
            again, age = self._look(key)
            if again is not None and age < self.fresh:
                return again  # somebody made it while we waited
            return self._make(key, media_type, make)
        finally:
            lock.release()

    def _look(self, key: str) -> tuple[Answer | None, float]:
        with self._guard:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        return found, time.monotonic() - found.made_at if found else 0.0

    def _make(self, key: str, media_type: str, make: Callable[[], bytes]) -> Answer:
        body = make()
        made = Answer(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"', time.monotonic())
        if self.fresh > 0:
            with self._guard:
                self._kept[key] = made
                while len(self._kept) > MOST:
                    old, _ = self._kept.popitem(last=False)
                    self._making.pop(old, None)
        return made
