"""Ready answers of the last seconds: what a hundred readers ask for is made once.

An answer younger than `fresh` is handed out as it is, one that was dear to make for longer: `COST` times what it took.
An older one is still handed out for `STALE` seconds more, and whoever asks for it has it made anew in the background,
one such answer after another, so that nobody waits. One that is older yet is waited for.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from fastapi import Request
from starlette.responses import Response

log = logging.getLogger(__name__)
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
        self._renewing: set[str] = set()
        self._background = ThreadPoolExecutor(1, "answers")

    def get(self, key: str, media_type: str, make: Callable[[], bytes]) -> Answer:
        """The answer to `key`, made by `make` where there is none young enough."""
        found, late = self._look(key)
        if found is not None and late < 0:
            return found
        with self._guard:
            lock = self._making.setdefault(key, threading.Lock())
        if found is not None and late < STALE:
            self._renew(key, lock, media_type, make)
            return found
        with lock:
            again, late = self._look(key)
            if again is not None and late < 0:
                return again  # somebody made it while we waited
            return self._make(key, media_type, make)

    def close(self) -> None:
        """Make no more."""
        self._background.shutdown(cancel_futures=True)

    def _renew(self, key: str, lock: threading.Lock, media_type: str, make: Callable[[], bytes]) -> None:
        """Make an answer anew in the background, unless that is under way."""

        def renew() -> None:
            try:
                if not lock.acquire(blocking=False):
                    return
                try:
                    self._make(key, media_type, make)
                finally:
                    lock.release()
            except Exception as error:  # whoever waits for it later is told
                log.warning("an answer could not be made anew: %s", error)
            finally:
                with self._guard:
                    self._renewing.discard(key)

        with self._guard:
            if key in self._renewing:
                return
            self._renewing.add(key)
        with suppress(RuntimeError):  # closed
            self._background.submit(renew)

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
