"""SQL of what organisers look at: counts over the whole platform."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datacomp.messages import RunState
from datacomp_server.runs.hours import GroupBy, HoursRepository
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run, Worker
from datacomp_server.submissions.models import Submission


class OperationRepository:
    """Figures of the whole platform."""

    def __init__(self, session: Session) -> None:
        self.session = session

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
