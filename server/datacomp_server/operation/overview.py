"""How the platform stands, in figures that are cheap to read: what organisers look at first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from datacomp.messages import BoardOut, RunState
from datacomp_server.boards.service import BoardService
from datacomp_server.clock import now
from datacomp_server.operation.repository import OperationRepository
from datacomp_server.settings import Settings
from datacomp_server.submissions.states import FAILED, FINAL

DAY = timedelta(days=1)


@dataclass(frozen=True)
class BoardStanding:
    """One board."""

    board: BoardOut
    entries: int
    """On its leaderboard."""
    under_way: int
    failed: int
    """Submissions that failed within the last day."""


@dataclass(frozen=True)
class QueueStanding:
    """One queue."""

    name: str
    workers: int
    """Seen lately."""
    waiting: int
    running: int
    oldest: datetime | None
    """Since when the run waits that waits longest."""


@dataclass(frozen=True)
class Standing:
    """The whole platform."""

    boards: list[BoardStanding]
    queues: list[QueueStanding]
    owed_rings: int
    """Of the doorbell: they should be delivered within seconds."""
    disk_free: int | None
    """Bytes in the data directory; None where there is none."""
    disk_total: int | None


def standing(session: Session, settings: Settings) -> Standing:
    """How everything stands now."""
    found, at = OperationRepository(session), now()
    states, entries, failed = found.states(), found.entries(), found.ended_since(FAILED, at - DAY)
    disk = shutil.disk_usage(settings.data_dir) if settings.data_dir.exists() else None
    return Standing(
        boards=[
            BoardStanding(
                board,
                entries.get(board.name, 0),
                sum(count for (name, state), count in states.items() if name == board.name and state not in FINAL),
                failed.get(board.name, 0),
            )
            for board in BoardService(session).list_boards()
        ],
        queues=_queues(found, at, settings),
        owed_rings=found.owed_rings(),
        disk_free=disk.free if disk else None,
        disk_total=disk.total if disk else None,
    )


def _queues(found: OperationRepository, at: datetime, settings: Settings) -> list[QueueStanding]:
    workers, oldest = found.live_workers(at, settings.worker_alive_seconds), found.oldest_queued()
    runs: dict[tuple[str, str], int] = {}
    for (queue, _, state), count in found.open_runs().items():
        runs[queue, state] = runs.get((queue, state), 0) + count
    names = sorted({*workers, *oldest, *(queue for queue, _ in runs), *found.board_queues()})
    return [
        QueueStanding(
            name,
            workers.get(name, 0),
            runs.get((name, RunState.QUEUED.value), 0),
            runs.get((name, RunState.RUNNING.value), 0),
            oldest.get(name),
        )
        for name in names
    ]
