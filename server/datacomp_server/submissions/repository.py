"""SQL of submissions, their files, events and quota."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import ColumnElement, exists, false, func, or_, select, update
from sqlalchemy.orm import Session

from datacomp.messages import QuotaState, Stage
from datacomp_server.accounts.models import TeamMember
from datacomp_server.boards.models import Board
from datacomp_server.database import hold_lock
from datacomp_server.submissions.models import Event, QuotaEntry, StoredFile, Submission


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

    def of_party(
        self,
        user_id: str,
        team_id: str | None,
        limit: int,
        offset: int,
        *,
        digest: str | None = None,
        state: str | None = None,
    ) -> list[Submission]:
        """Submissions of an account or a team, newest first; only those of a file or a state, where one is given."""
        of_team = false() if team_id is None else Submission.team_id == team_id
        query = select(Submission).where(or_(Submission.user_id == user_id, of_team)).limit(limit).offset(offset)
        if digest is not None:
            query = query.where(Submission.digest == digest)
        if state is not None:
            query = query.where(Submission.state == state)
        return list(self.session.scalars(query.order_by(Submission.created_at.desc(), Submission.id)))

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

    def ids_of_person(self, user_id: str) -> list[str]:
        """Ids of everything that an account handed in, for itself or a team, oldest first."""
        query = select(Submission.id).where(Submission.user_id == user_id)
        return list(self.session.scalars(query.order_by(Submission.created_at, Submission.id)))

    # --- events

    def anonymise_events(self, name: str, role: str, anonymous: str) -> None:
        """Put another name into the history of what an account did, the one change that the history allows, and into
        the reasons of the quota ledger."""
        actor = f"{role}:{name}"
        reason = func.replace(Event.reason, f" by {name}", f" by {anonymous}")
        statement = update(Event).where(Event.actor == actor)
        self.session.execute(statement.values(actor=f"{role}:{anonymous}", reason=reason))
        costs = update(QuotaEntry).where(QuotaEntry.reason.endswith(f" by {name}", autoescape=True))
        self.session.execute(costs.values(reason=func.replace(QuotaEntry.reason, f" by {name}", f" by {anonymous}")))

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

    def events_since(self, last: int) -> tuple[int, list[tuple[int, str]]]:
        """Id of the newest event of all, and ids and submissions of those after an id."""
        query = select(Event.id, Event.submission_id).where(Event.id > last).order_by(Event.id)
        found = [(row.id, row.submission_id) for row in self.session.execute(query.limit(100_000))]
        return found[-1][0] if found else last, found

    # --- files

    def upload(self, submission_id: str) -> StoredFile | None:
        """The participant's confirmed file."""
        query = select(StoredFile).where(StoredFile.submission_id == submission_id, StoredFile.run_id.is_(None))
        return self.session.scalar(query)

    def promoted(self, run_ids: Sequence[str]) -> list[StoredFile]:
        """Promoted outputs of runs, by name."""
        query = select(StoredFile).where(StoredFile.run_id.in_(run_ids), StoredFile.promoted)
        return list(self.session.scalars(query.order_by(StoredFile.name)))

    def hold_promoted(self, run_id: str) -> list[StoredFile]:
        """Promoted outputs of a run, as they are now. None is deleted until the transaction ends."""
        for file in self.promoted([run_id]):
            hold_lock(self.session, file_lock(file.key), shared=True)
        query = select(StoredFile).where(StoredFile.run_id == run_id, StoredFile.promoted)
        return list(self.session.scalars(query.order_by(StoredFile.name).execution_options(populate_existing=True)))

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

    def quota_used(
        self, people: Sequence[str], team_id: str | None, board: Board, day: dt.date, rehearsal: bool
    ) -> tuple[int, int, int]:
        """Lines that count against people or their team: of a day, in all, and under way (rehearsals or not)."""
        kind = QuotaEntry.rehearsal == rehearsal
        counts = select(
            func.count().filter(kind, QuotaEntry.day == day),
            func.count().filter(kind),
            func.count().filter(QuotaEntry.state == QuotaState.RESERVED),
        ).where(
            QuotaEntry.board_name == board.name,
            QuotaEntry.state != QuotaState.REFUNDED,
            or_(
                QuotaEntry.user_id.in_(people),
                false() if team_id is None else QuotaEntry.team_id == team_id,
                _stood_behind(people),
            ),
        )
        today, total, under_way = self.session.execute(counts).one()
        return today, total, under_way


def file_lock(key: str) -> str:
    """Name of the lock of a stored file: held shared while it is taken over, alone while it is deleted."""
    return f"file {key}"


def _stood_behind(people: Sequence[str]) -> ColumnElement[bool]:
    """Whether one of them was in the team of a ledger's line when its submission was opened."""
    return exists().where(
        Submission.id == QuotaEntry.submission_id,
        TeamMember.team_id == QuotaEntry.team_id,
        TeamMember.user_id.in_(people),
        TeamMember.joined_at <= Submission.created_at,
        or_(TeamMember.left_at.is_(None), TeamMember.left_at > Submission.created_at),
    )
