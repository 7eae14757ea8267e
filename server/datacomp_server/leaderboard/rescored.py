"""Records that were scored before, so that scoring a large board again can be cut into short parts.

A score is a function of records and suite, so it is kept by the digests of both. A `Part` scores for a few seconds,
then breaks off; whoever begins anew finds what was done.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass

from datacomp.problems import BadInput
from datacomp.suite import Suite
from datacomp_server.leaderboard.scoring import SeedResult, score_stored_records
from datacomp_server.storage import Storage

MOST = 40_000
"""Scores kept, of one training each: a few kB."""


class Unfinished(Exception):
    """The time of a part is up."""

    def __init__(self, done: int, total: int) -> None:
        super().__init__(f"{done} of {total}")
        self.done, self.total = done, total


class Rescored:
    """Scores by the digests of records and suite. Safe to use from many threads."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()
        self._guard = threading.Lock()

    def known(self, records: str, suite: str) -> SeedResult | None:
        """What was scored before."""
        with self._guard:
            packed = self._kept.get((records, suite))
            if packed is None:
                return None
            self._kept.move_to_end((records, suite))
        return SeedResult(**json.loads(zlib.decompress(packed)))

    def keep(self, records: str, suite: str, result: SeedResult) -> None:
        """Keep a score; those that nobody asked for leave first."""
        packed = zlib.compress(json.dumps(asdict(result)).encode())
        with self._guard:
            self._kept[records, suite] = packed
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)


@dataclass
class Part:
    """What one request may do of it: at least one training, and no more after `seconds`."""

    scores: Rescored
    seconds: float
    seeds: int
    """Trainings of a submission."""
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._ends = self.clock() + self.seconds
        self._worked = False

    def score(self, storage: Storage, key: str, digest: str, suite: Suite) -> SeedResult:
        """As `score_stored_records`, which is asked only for what is not known."""
        known = self.scores.known(digest, suite.digest)
        if known is None:
            self._worked = True
            known = score_stored_records(storage, key, digest, suite)
            self.scores.keep(digest, suite.digest, known)
        return known

    def report(self, _what: str, done: float, total: float) -> None:
        """`Unfinished` when it is time to break off; `BadInput` for a board of which not all can be kept."""
        if total * self.seeds > self.scores.most:
            message = f"{int(total):,} submissions are more than can be scored again from a page"
            raise BadInput.of("board-too-large", message, hint="at the server's console: datacomp admin rescore BOARD")
        if self._worked and self.clock() > self._ends:
            raise Unfinished(int(done), int(total))
