"""Ready answers of the last seconds: what a hundred readers ask for is made once.

An answer younger than `fresh` is handed out as it is, one that was dear to make for longer: `COST` times what it took.
An older one is made anew by the one request that finds it old, while the others still get the old one for `STALE`
seconds more; then everybody waits for the new one.
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
COST = 5.0


@dataclass(frozen=True)
class Answer:
    """The bytes of an answer. `etag` is of their content."""

    body: bytes
    media_type: str
    etag: str
    made_at: float
    took: float
    """Seconds that it took to make."""

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
        found, late = self._look(key)
        if found is not None and late < 0:
            return found
        with self._guard:
            lock = self._making.setdefault(key, threading.Lock())
        if found is not None and late < STALE and not lock.acquire(blocking=False):
            return found
        if found is None or late >= STALE:
            lock.acquire()
        try:
            again, late = self._look(key)
            if again is not None and late < 0:
                return again  # somebody made it while we waited
            return self._make(key, media_type, make)
        finally:
            lock.release()

    def _look(self, key: str) -> tuple[Answer | None, float]:
        """The answer that is kept, and for how many seconds it is no longer fresh."""
        with self._guard:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
        if found is None:
            return None, 0.0
        return found, time.monotonic() - found.made_at - max(self.fresh, COST * found.took)

    def _make(self, key: str, media_type: str, make: Callable[[], bytes]) -> Answer:
        began = time.monotonic()
        body = make()
        at = time.monotonic()
        made = Answer(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"', at, at - began)
        if self.fresh > 0:
            with self._guard:
                self._kept[key] = made
                while len(self._kept) > MOST:
                    old, _ = self._kept.popitem(last=False)
                    self._making.pop(old, None)
        return made
