"""When a queued run may be expected to start: a pure function of who works, what waits and how long such work took.

The queue as it stands is played through many times with durations drawn from those of finished runs of the same board,
stage and rehearsal or not. What nobody has done yet has no duration: nothing is said of runs that wait for it. Runs
that come in later, or that wait elsewhere for the same workers, are not foreseen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from datacomp.messages import Stage

DRAWS = 256
FORESEEN = 200
"""Positions that something is said of."""
WORKERS = 64
"""Workers of a queue that are told apart; of more, the first ones."""


@dataclass(frozen=True)
class Work:
    """Runs that take about the same time."""

    board: str
    stage: Stage
    rehearsal: bool


@dataclass(frozen=True)
class Wait:
    """Seconds until a run starts: half and nine tenths of the plays had it started by then."""

    p50: float
    p90: float

    def between(self, at: datetime) -> tuple[datetime, datetime]:
        """The two points in time."""
        return at + timedelta(seconds=self.p50), at + timedelta(seconds=self.p90)


def expected_waits(
    workers: Sequence[tuple[Work, float] | None],
    waiting: Sequence[Work],
    history: Mapping[Work, Sequence[float]],
) -> list[Wait | None]:
    """One for each waiting run, in the order in which they are served. A worker is idle (None) or has been at some work
    for so many seconds; `history` holds durations in seconds. None where it cannot be told."""
    if not workers:
        return [None] * len(waiting)
    random = np.random.default_rng(0)  # the same queue, the same answer
    free = np.stack([_left(worker, history, random) for worker in workers[:WORKERS]], axis=1)
    plays = np.arange(DRAWS)
    waits: list[Wait | None] = []
    for work in waiting[:FORESEEN]:
        first = free.argmin(axis=1)
        starts = free[plays, first]
        p50, p90 = np.percentile(starts, [50, 90], method="higher")
        waits.append(Wait(float(p50), float(p90)) if np.isfinite(p90) else None)
        free[plays, first] += _draw(history.get(work, ()), random)
    return waits + [None] * (len(waiting) - len(waits))


def _draw(durations: Sequence[float], random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Durations that such work may take; for ever, where nobody knows."""
    return random.choice(np.asarray(durations, np.float64), DRAWS) if durations else np.full(DRAWS, np.inf)


def _left(
    worker: tuple[Work, float] | None, history: Mapping[Work, Sequence[float]], random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """How long a worker is still busy. Work that already took longer than all before it ends within as long again."""
    if worker is None:
        return np.zeros(DRAWS)
    work, elapsed = worker
    durations = history.get(work, ())
    longer = [each - elapsed for each in durations if each > elapsed]
    return random.uniform(0, elapsed, DRAWS) if durations and not longer else _draw(longer, random)
