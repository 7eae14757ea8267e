"""SQL of submissions, their files, events and quota."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datacomp.messages import Stage
from datacomp_server.boards.models import Board
from datacomp_server.submissions.models import Event, QuotaEntry, QuotaState, StoredFile, Submission
from datacomp_server.submissions.states import UPLOADING


class SubmissionRepository:
    """Submissions and what belongs to them."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Submission | StoredFile | QuotaEntry) -> None:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()

    def get(self, submission_id: str) -> Submission | None:
        """The submission of that id."""
        return self.session.get(Submission, submission_id)

    def lock(self, submission_id: str) -> Submission | None:
        """The submission as it is now, held until the transaction ends: the mutex of everything that belongs to it."""
        query = select(Submission).where(Submission.id == submission_id).with_for_update(of=Submission)
        return self.session.scalar(query.execution_options(populate_existing=True))

    def of_user(self, user_id: str, limit: int, offset: int) -> list[Submission]:
        """An account's submissions, newest first."""
        query = select(Submission).where(Submission.user_id == user_id).limit(limit).offset(offset)
        return list(self.session.scalars(query.order_by(Submission.created_at.desc(), Submission.id)))

    def stale_uploads(self, before: datetime) -> list[str]:
        """Submissions opened before a time whose file never came."""
        query = select(Submission.id).where(Submission.state == UPLOADING, Submission.created_at < before)
        return list(self.session.scalars(query))

    def mark_duplicates(self, submission: Submission) -> None:
        """Among the submissions to a board with this one's subset, the first stands and the others name it.

        Rehearsals and what was withdrawn do not count. The first may well be the last whose subset becomes known.
        """
        self.session.flush()
        query = select(Submission).where(
            Submission.board_name == submission.board_name,
            Submission.subset_digest == submission.subset_digest,
            Submission.withdrawn_at.is_(None),
            ~Submission.rehearsal,
        )
        same = list(self.session.scalars(query.order_by(Submission.created_at, Submission.id)))
        for other in same[1:]:
            other.duplicate_of = other.duplicate_of or same[0].id

    # --- events

    def add_event(
        self,
        submission_id: str,
        *,
        run_id: str | None,
        stage: Stage | None,
        what: str,
        before: str | None,
        after: str | None,
        actor: str,
        reason: str,
    ) -> None:
        """Append to the history."""
        event = Event(submission_id=submission_id, run_id=run_id, stage=stage, what=what, before=before, after=after)
        event.actor, event.reason = actor, reason
        self.session.add(event)

    def events_after(self, submission_id: str, last: int, limit: int = 1000) -> list[Event]:
        """The history after an event's id, in order."""
        query = select(Event).where(Event.submission_id == submission_id, Event.id > last)
        return list(self.session.scalars(query.order_by(Event.id).limit(limit)))

    # --- files

    def upload(self, submission_id: str) -> StoredFile | None:
        """The participant's confirmed file."""
        query = select(StoredFile).where(StoredFile.submission_id == submission_id, StoredFile.run_id.is_(None))
        return self.session.scalar(query)

    def promoted(self, run_ids: Sequence[str]) -> list[StoredFile]:
        """Promoted outputs of runs, by name."""
        query = select(StoredFile).where(StoredFile.run_id.in_(run_ids), StoredFile.promoted)
        return list(self.session.scalars(query.order_by(StoredFile.name)))

    def attempt_files(self, attempt_id: str) -> list[StoredFile]:
        """What an attempt stored."""
        return list(self.session.scalars(select(StoredFile).where(StoredFile.attempt_id == attempt_id)))

    def run_files(self, run_id: str) -> list[StoredFile]:
        """What all attempts at a run stored."""
        return list(self.session.scalars(select(StoredFile).where(StoredFile.run_id == run_id)))

    # --- quota

    def quota(self, submission_id: str) -> QuotaEntry | None:
        """A submission's line in the ledger."""
        return self.session.get(QuotaEntry, submission_id)

    def quota_used(self, user_id: str, board: Board, day: dt.date, rehearsal: bool) -> int:
        """Reserved and charged lines of a day."""
        query = select(func.count()).where(
            QuotaEntry.user_id == user_id,
            QuotaEntry.board_name == board.name,
            QuotaEntry.day == day,
            QuotaEntry.rehearsal == rehearsal,
            QuotaEntry.state != QuotaState.REFUNDED,
        )
        return self.session.scalar(query) or 0
