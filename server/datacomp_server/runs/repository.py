"""SQL of runs, attempts, the outbox and workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session, aliased

from datacomp.messages import RunState, Stage, SubmissionKind
from datacomp_server.database import hold_lock, is_postgresql
from datacomp_server.runs.forecast import Work
from datacomp_server.runs.models import Attempt, AttemptState, OutboxRow, Run, Turn, Worker
from datacomp_server.runs.scheduling import Candidate, Load
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import SCORED

LATEST = 100
"""Submissions of a board that tell how long runs take."""
PARTY = Submission.party
RUNS_CODE = sa.and_(Run.stage == Stage.FILTER, Submission.kind == SubmissionKind.CODE)
"""Whose turn it is: parties are served in turn, whatever number of submissions each has."""


class RunRepository:
    """Runs and what drives them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, *rows: Run | Attempt | OutboxRow) -> None:
        """Insert rows now."""
        self.session.add_all(rows)
        self.session.flush()

    def heard(self) -> dict[str, datetime]:
        """The last heartbeat of every submission that a worker is at."""
        query = select(Run.submission_id, sa.func.max(Run.heard_at)).where(Run.state == RunState.RUNNING)
        rows = self.session.execute(query.group_by(Run.submission_id))
        return {submission: at for submission, at in rows if at is not None}

    def of_submission(self, submission_id: str) -> list[Run]:
        """A submission's runs as they are now, in order."""
        query = select(Run).where(Run.submission_id == submission_id).order_by(Run.position)
        return list(self.session.scalars(query.execution_options(populate_existing=True)))

    def get(self, run_id: str) -> Run | None:
        """The run of that id, as it is now."""
        return self.session.get(Run, run_id, populate_existing=True)

    def twin(self, input_digest: str) -> Run | None:
        """A finished run with the same inputs: its outputs can be taken over. Originals before copies."""
        query = select(Run).where(Run.input_digest == input_digest, Run.state == RunState.DONE)
        return self.session.scalar(query.order_by(Run.reused_from.is_not(None), Run.finished_at.desc()).limit(1))

    # --- attempts

    def attempt(self, attempt_id: str) -> Attempt | None:
        """The attempt of that id, as it is now."""
        return self.session.get(Attempt, attempt_id, populate_existing=True)

    def submission_of_attempt(self, attempt_id: str) -> str | None:
        """Which submission an attempt belongs to."""
        query = select(Run.submission_id).join(Attempt, Attempt.run_id == Run.id).where(Attempt.id == attempt_id)
        return self.session.scalar(query)

    def attempts(self, run_ids: Sequence[str]) -> list[Attempt]:
        """All attempts at some runs, in order."""
        query = select(Attempt).where(Attempt.run_id.in_(run_ids)).order_by(Attempt.run_id, Attempt.fence)
        return list(self.session.scalars(query))

    def open_attempts(self, run_ids: Sequence[str]) -> list[Attempt]:
        """Attempts in progress."""
        query = select(Attempt).where(Attempt.run_id.in_(run_ids), Attempt.state == AttemptState.OPEN)
        return list(self.session.scalars(query.execution_options(populate_existing=True)))

    def overdue(self, at: datetime) -> list[str]:
        """Attempts whose lease ran out."""
        query = select(Attempt.id).where(Attempt.state == AttemptState.OPEN, Attempt.lease_until <= at)
        return list(self.session.scalars(query.order_by(Attempt.lease_until)))

    # --- the queue

    def candidates(self, queues: Sequence[str], *, code: bool = True) -> list[Candidate]:
        """Queued runs of some queues, but for those whose very work is being done elsewhere, and without `code` those
        that run participants' code."""
        query = (
            select(Run.id, Run.submission_id, Run.stage, Run.queue, Run.queued_at, PARTY)
            .add_columns(Submission.priority, Submission.board_name, Submission.rehearsal)
            .join(Submission, Run.submission_id == Submission.id)
            .where(Run.state == RunState.QUEUED, Run.queue.in_(queues), ~_twin_exists(RunState.RUNNING))
        )
        if not code:
            query = query.where(~RUNS_CODE)
        return [Candidate(*row) for row in self.session.execute(query)]

    def loads(self, parties: Sequence[str]) -> dict[str, Load]:
        """How well each party is being served."""
        running = (
            select(PARTY, sa.func.count(Run.id))
            .join(Submission, Run.submission_id == Submission.id)
            .where(Run.state == RunState.RUNNING, PARTY.in_(parties))
            .group_by(PARTY)
        )
        counts: dict[str, int] = dict(self.session.execute(running).tuples().all())
        turns = select(Turn.party, Turn.served_at).where(Turn.party.in_(parties))
        served: dict[str, datetime] = dict(self.session.execute(turns).tuples().all())
        return {party: Load(counts.get(party, 0), served.get(party)) for party in parties}

    def note_served(self, submission_id: str, at: datetime) -> None:
        """Note that a worker took up a run of this submission's party."""
        party = self.session.scalar(select(PARTY).where(Submission.id == submission_id))
        statement = self._insert(Turn).values(party=party, served_at=at)
        self.session.execute(statement.on_conflict_do_update(index_elements=[Turn.party], set_={"served_at": at}))

    # --- the same work twice

    def twin_in(self, state: RunState, run: Run) -> bool:
        """Whether a run of another submission with the same inputs is in that state."""
        query = select(Run.id).where(Run.input_digest == run.input_digest, Run.state == state, Run.id != run.id)
        return run.input_digest is not None and self.session.scalar(query.limit(1)) is not None

    def hold_work(self, run: Run) -> None:
        """Hold the lock of a run's work until the transaction ends: one of equal runs is claimed at a time."""
        if run.input_digest is not None:
            hold_lock(self.session, f"work {run.input_digest}")

    def queued_behind_finished_work(self) -> list[str]:
        """Submissions with queued runs whose work was done by somebody else since they were queued."""
        query = select(Run.submission_id).where(Run.state == RunState.QUEUED, _twin_exists(RunState.DONE))
        return list(self.session.scalars(query.distinct()))

    def queued_behind_running_work(self, run_ids: Sequence[str]) -> set[str]:
        """Those of some runs that wait for the same work to be done elsewhere."""
        query = select(Run.id).where(Run.id.in_(run_ids), Run.state == RunState.QUEUED, _twin_exists(RunState.RUNNING))
        return set(self.session.scalars(query))

    # --- deadlines

    def overdue_runs(self, at: datetime) -> list[str]:
        """Runs that were to have left their state by now."""
        return list(self.session.scalars(select(Run.id).where(Run.due_at <= at).order_by(Run.due_at)))

    def submission_of(self, run_id: str) -> str | None:
        """Which submission a run belongs to."""
        return self.session.scalar(select(Run.submission_id).where(Run.id == run_id))

    def lane_rows(self) -> list[tuple[Run, Submission]]:
        """Queued and running runs with their submissions, oldest first."""
        query = (
            select(Run, Submission)
            .join(Submission, Run.submission_id == Submission.id)
            .where(Run.state.in_([RunState.QUEUED, RunState.RUNNING]))
            .order_by(Run.queued_at)
        )
        return [(run, submission) for run, submission in self.session.execute(query)]

    # --- how long things take

    def busy(self) -> dict[str, tuple[Work, datetime]]:
        """What each worker is at, and since when."""
        query = (
            select(Run.worker, Run.started_at, Submission.board_name, Run.stage, Submission.rehearsal)
            .join(Submission, Run.submission_id == Submission.id)
            .where(Run.state == RunState.RUNNING)
        )
        return {
            worker: (Work(board, stage, rehearsal), since)
            for worker, since, board, stage, rehearsal in self.session.execute(query)
            if worker is not None and since is not None
        }

    def durations(self, board: str) -> dict[Work, list[float]]:
        """Seconds that runs of a board's latest scored submissions took; those taken over from equal work took none."""
        latest = (
            select(Submission.id)
            .where(Submission.board_name == board, Submission.state == SCORED)
            .order_by(Submission.created_at.desc())
            .limit(LATEST)
        )
        query = (
            select(Run.stage, Submission.rehearsal, Run.started_at, Run.finished_at)
            .join(Submission, Run.submission_id == Submission.id)
            .where(Run.submission_id.in_(latest), Run.state == RunState.DONE, Run.reused_from.is_(None))
        )
        found: dict[Work, list[float]] = {}
        for stage, rehearsal, started, finished in self.session.execute(query):
            if started is not None and finished is not None:
                found.setdefault(Work(board, stage, rehearsal), []).append((finished - started).total_seconds())
        return found

    # --- outbox

    def undelivered(self, limit: int) -> list[OutboxRow]:
        """Rings that are owed, oldest first; rows that another dispatcher holds are left to it."""
        query = select(OutboxRow).where(OutboxRow.delivered_at.is_(None)).order_by(OutboxRow.id).limit(limit)
        return list(self.session.scalars(query.with_for_update(skip_locked=True)))

    def has_undelivered(self) -> bool:
        """Whether a ring is owed: asked without taking SQLite's write lock."""
        return self.session.scalar(select(OutboxRow.id).where(OutboxRow.delivered_at.is_(None)).limit(1)) is not None

    def queues_waiting_since(self, before: datetime) -> list[str]:
        """Queues that hold runs nobody claimed since a time."""
        query = select(Run.queue).where(Run.state == RunState.QUEUED, Run.queued_at < before).distinct()
        return list(self.session.scalars(query))

    def forget_delivered(self, before: datetime) -> None:
        """Delete rings delivered before a time."""
        self.session.execute(sa.delete(OutboxRow).where(OutboxRow.delivered_at < before))

    # --- workers

    def see_worker(self, name: str, queues: list[str], busy: str | None, no_code: str, at: datetime) -> None:
        """Note that a worker is alive; safe when two requests of one worker arrive at once."""
        seen = {"queues": queues, "busy": busy, "no_code": no_code, "last_seen": at}
        statement = self._insert(Worker).values(name=name, first_seen=at, **seen)
        self.session.execute(statement.on_conflict_do_update(index_elements=[Worker.name], set_=seen))

    def workers_since(self, since: datetime) -> list[Worker]:
        """Workers seen since a time."""
        return list(self.session.scalars(select(Worker).where(Worker.last_seen >= since).order_by(Worker.name)))

    def _insert(self, table: type[Turn | Worker]) -> postgresql.Insert | sqlite.Insert:
        """An insert that knows what to do where the row is there already."""
        return postgresql.insert(table) if is_postgresql(self.session) else sqlite.insert(table)


def _twin_exists(state: RunState) -> sa.ColumnElement[bool]:
    """Whether another run has the inputs of the run that the query is about, and is in that state."""
    twin = aliased(Run)
    same = (twin.input_digest == Run.input_digest, twin.state == state, twin.id != Run.id)
    return select(twin.id).where(*same).exists()
