"""SQL of what organisers look at: counts over the whole platform."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from datacomp.messages import RunState
from datacomp_server.boards.models import Board
from datacomp_server.leaderboard.models import Score
from datacomp_server.runs.hours import GroupBy, HoursRepository
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run, Worker
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.uploads.models import UploadPiece


class OperationRepository:
    """Figures of the whole platform."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def submissions(self, board: str | None, state: str | None, limit: int) -> list[Submission]:
        """Submissions of everybody, newest first."""
        query = select(Submission).order_by(Submission.created_at.desc(), Submission.id).limit(limit)
        if board is not None:
            query = query.where(Submission.board_name == board)
        if state is not None:
            query = query.where(Submission.state == state)
        return list(self.session.scalars(query))

    def states(self) -> dict[tuple[str, str], int]:
        """Submissions by board and state; `training 2 of 3` counts as training."""
        query = select(Submission.board_name, Submission.state, func.count()).group_by(
            Submission.board_name, Submission.state
        )
        found: dict[tuple[str, str], int] = {}
        for board, state, count in self.session.execute(query):
            key = (board, state.split(" ")[0])
            found[key] = found.get(key, 0) + count
        return found

    def entries(self) -> dict[str, int]:
        """Entries that stand on a leaderboard, by board."""
        query = select(Score.board_name, func.count()).where(Score.listed).group_by(Score.board_name)
        return {row[0]: row[1] for row in self.session.execute(query)}

    def ended_since(self, state: str, since: datetime) -> dict[str, int]:
        """Submissions that came to a final state since a time, by board."""
        query = select(Submission.board_name, func.count()).where(
            Submission.state == state, Submission.finished_at >= since
        )
        return {row[0]: row[1] for row in self.session.execute(query.group_by(Submission.board_name))}

    def board_queues(self) -> set[str]:
        """Queues that boards name."""
        rows = self.session.execute(select(Board.train_queue, Board.data_queue).where(Board.listed))
        return {queue for row in rows for queue in row}

    def open_runs(self) -> dict[tuple[str, str, str], int]:
        """Queued and running runs by queue, stage and state."""
        query = select(Run.queue, Run.stage, Run.state, func.count()).where(
            Run.state.in_((RunState.QUEUED, RunState.RUNNING))
        )
        rows = self.session.execute(query.group_by(Run.queue, Run.stage, Run.state))
        return {(queue, stage.value, state.value): count for queue, stage, state, count in rows}

    def oldest_queued(self) -> dict[str, datetime | None]:
        """Since when the oldest run of each queue waits."""
        query = select(Run.queue, func.min(Run.queued_at)).where(Run.state == RunState.QUEUED).group_by(Run.queue)
        return {row[0]: row[1] for row in self.session.execute(query)}

    def live_workers(self, at: datetime, seconds: float) -> dict[str, int]:
        """Workers seen lately, by queue that they serve."""
        query = select(Worker.queues).where(Worker.last_seen >= at - timedelta(seconds=seconds))
        found: dict[str, int] = {}
        for queues in self.session.scalars(query):
            for queue in queues:
                found[queue] = found.get(queue, 0) + 1
        return found

    def owed_rings(self) -> int:
        """Rows of the outbox that were not delivered yet."""
        return self.session.scalar(select(func.count()).where(OutboxRow.delivered_at.is_(None))) or 0

    def attempts(self) -> list[tuple[str, str, int, float]]:
        """Ended attempts by stage and state: how many, and the seconds that they took."""
        query = (
            select(Run.stage, Attempt.state, func.count(), func.sum(Attempt.seconds))
            .join(Run, Run.id == Attempt.run_id)
            .where(Attempt.state != AttemptState.OPEN)
            .group_by(Run.stage, Attempt.state)
        )
        rows = self.session.execute(query)
        return [(stage.value, state.value, count, float(total or 0)) for stage, state, count, total in rows]

    def hours(self) -> list[tuple[str, float, float]]:
        """GPU and processor hours by board."""
        return [
            (line.name, line.hours.gpu, line.hours.cpu) for line in HoursRepository(self.session).lines(GroupBy.BOARD)
        ]


@dataclass(frozen=True)
class StoredKey:
    """A file that the database refers to."""

    key: str
    size: int
    digest: str | None
    """None for the pieces of a file that is still arriving."""


def stored_keys(session: Session) -> list[StoredKey]:
    """Every file that a restored platform needs: uploads, pieces of uploads, outputs that count or may count yet.

    What attempts left that failed or were lost is garbage, but for a training's checkpoints: the next attempt goes on
    from them.
    """
    attempts = select(Attempt.id).where(Attempt.state.in_((AttemptState.OPEN, AttemptState.LOST)))
    files = select(StoredFile.key, StoredFile.size, StoredFile.digest).where(
        or_(StoredFile.promoted, StoredFile.attempt_id.is_(None), StoredFile.attempt_id.in_(attempts)),
        StoredFile.deleted_at.is_(None),
    )
    found = {row.key: StoredKey(row.key, row.size, row.digest) for row in session.execute(files)}
    pieces = [StoredKey(piece.key, piece.size, None) for piece in session.scalars(select(UploadPiece))]
    return [*found.values(), *pieces]
