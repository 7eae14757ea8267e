"""The sweep over a board that finds every entry's rank range, soon after something changed that ranges depend on.

A change notes itself in its own transaction (`ScoreRepository.note_change`). The dispatcher sweeps such boards: it
reads all scores, places them, and writes the ranges that came out otherwise, in transactions short enough that nobody
waits for them. Several dispatchers may sweep: a sweep that is overtaken by a later one stops writing, and one that died
is begun anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from datacomp.statistics.ranks import rank_ranges
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.leaderboard.order import Means
from datacomp_server.leaderboard.sweeps import Entry, Placed, SweepRepository
from datacomp_server.leaderboard.visibility import withheld

log = logging.getLogger(__name__)
CHUNK = 2000
"""Ranges written in one transaction."""
STALE = timedelta(seconds=120)
"""A sweep that began so long ago, and is not done, has died."""
REST = 10.0
"""A board is swept no more often than once in so many times what its last sweep took."""


@dataclass(frozen=True)
class Report:
    """What a sweep did."""

    board: str
    entries: int
    written: int
    seconds: float


class Overtaken(Exception):
    """A later sweep is at the board."""


@dataclass
class Ranker:
    """Sweeps boards. Holds nothing that matters: when boards are due again."""

    database: Database
    _rests: dict[str, float] = field(default_factory=dict)

    def sweep_due(self) -> list[Report]:
        """Sweep every board whose ranges no longer hold, unless it was swept just now."""
        with self.database.read() as session:
            due = SweepRepository(session).due_boards()
        reports = []
        for board in due:
            if time.monotonic() < self._rests.get(board, 0.0):
                continue
            report = self.sweep(board)
            if report is not None:
                self._rests[board] = time.monotonic() + REST * report.seconds
                reports.append(report)
                log.info("ranked %s: %d entries, %d ranges moved, %.1f s", *vars(report).values())
        return reports

    def sweep(self, board: str) -> Report | None:
        """Find and write a board's ranges; None when another sweep is at it, or overtook this one."""
        began, at = time.monotonic(), now()
        with self.database.write() as session:
            number = SweepRepository(session).begin(board, at, at - STALE)
        if number is None:
            return None
        try:
            written, entries = self._sweep(board, number, at)
        except Overtaken:
            return None
        return Report(board, entries, written, time.monotonic() - began)

    def _sweep(self, board: str, number: int, at: datetime) -> tuple[int, int]:
        with self.database.read() as session:
            sweeps = SweepRepository(session)
            seen = sweeps.changes(board)  # first: what is committed while we read is swept again
            row = sweeps.board(board)
            public = bool(withheld(row))
            deviation = SeedDeviation.of(row)
            entries = sweeps.entries(board, Means(public=public))
            known, tries = sweeps.placed(board), sweeps.tries(board)
        found = place(entries, deviation, tries)
        moved = [placed for placed in found if known.get(placed.submission_id) != placed]
        for start in range(0, len(moved), CHUNK):
            began = time.monotonic()
            with self.database.write() as session:
                sweeps = SweepRepository(session)
                if not sweeps.is_at(board, number):
                    raise Overtaken
                sweeps.write(board, moved[start : start + CHUNK])
            time.sleep(time.monotonic() - began)  # half of the time is the others': SQLite has one writer at a time
        with self.database.write() as session:
            sweeps = SweepRepository(session)
            if not sweeps.is_at(board, number):
                raise Overtaken
            sweeps.forget(known.keys() - {placed.submission_id for placed in found})
            ranked = sum(placed.lo > 0 for placed in found)
            sweeps.end(board, seen, at=at, ranked=ranked, public=public)
        return len(moved), len(found)


def place(entries: Sequence[Entry], deviation: SeedDeviation, tries: dict[str, int]) -> list[Placed]:
    """Every entry's ranges by the rule that stands on the page; entries without a finite average get none (0 to 0).

    An entry scored before sampling variances were kept counts with the spread between seeds alone.
    """
    scores = np.array([entry.average for entry in entries], np.float64)  # None becomes NaN
    sampling = np.nan_to_num(np.array([entry.sampling_variance for entry in entries], np.float64))
    seeds = np.array([entry.seeds for entry in entries], np.float64)
    found = rank_ranges(scores, deviation.average**2 / np.maximum(seeds, 1) + sampling)
    columns = (found.lo.tolist(), found.hi.tolist(), found.holm_lo.tolist(), found.holm_hi.tolist())
    return [
        Placed(entry.submission_id, lo, hi, holm_lo, holm_hi, tries.get(entry.party, 1))
        for entry, lo, hi, holm_lo, holm_hi in zip(entries, *columns, strict=True)
    ]
