"""Messages of the queue, which only people read."""

from __future__ import annotations

from datetime import datetime

from datacomp.messages import Message, RunState, Stage


class QueueRun(Message):
    """A run that is queued or running."""

    run: str
    submission: str
    board: str
    method: str
    participant: str
    stage: Stage
    seed: int
    rehearsal: bool
    state: RunState
    since: datetime | None
    """Queued or started at."""
    position: int | None
    """1 for the run that is served next; None for running ones."""
    worker: str | None
    note: str
    """For queued runs: position, or `no worker serves queue gpu`."""
    starts_p50: datetime | None = None
    """Half of such waits end by then; None where nothing of the kind was done before."""
    starts_p90: datetime | None = None
    """Nine tenths do."""


class QueueLane(Message):
    """One queue, running runs first, then queued ones in the order in which they would be served."""

    name: str
    live_workers: int
    runs: list[QueueRun]


class WorkerOut(Message):
    """A worker as it last introduced itself."""

    name: str
    queues: list[str]
    alive: bool
    busy: str | None
    no_code: str
    """Why it cannot run participants' code; empty where it can."""
    last_seen: datetime


class QueueOut(Message):
    """All queues and workers."""

    queues: list[QueueLane]
    workers: list[WorkerOut]
    generated_at: datetime
