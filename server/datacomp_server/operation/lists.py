"""SQL of organisers' lists: runs of everybody, accounts, entries that are pinned."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select
from sqlalchemy.orm import Session

from datacomp.messages import QuotaState, RunState, Stage
from datacomp_server.accounts.models import ApiToken, Role, User, WebSession
from datacomp_server.runs.models import Run
from datacomp_server.submissions.models import QuotaEntry, Submission

CODE = Run.failure[("problems", 0, "code")].as_string()
"""The first problem of a failed run."""


@dataclass(frozen=True)
class RunFilter:
    """Which runs; empty: all."""

    board: str = ""
    state: RunState | None = None
    stage: Stage | None = None
    worker: str = ""
    code: str = ""
    """Code of the failure."""
    participant: str = ""

    @property
    def rare(self) -> bool:
        """Whether few runs can be such, so that they are looked up first: most are done."""
        return bool(self.code) or self.state not in {None, RunState.DONE}

    def of_submission(self) -> list[ColumnElement[bool]]:
        """What it asks of the submission, as SQL; one without a file has no runs."""
        found: list[ColumnElement[bool]] = [Submission.uploaded_at.is_not(None)]
        if self.board:
            found.append(Submission.board_name == self.board)
        if self.participant:
            named = select(User.id).where(User.name_key == self.participant.lower())
            found.append(Submission.user_id.in_(named))
        return found

    def of_run(self) -> list[ColumnElement[bool]]:
        """What it asks of the run, as SQL."""
        found: list[ColumnElement[bool]] = []
        if self.state is not None:
            found.append(Run.state == self.state)
        if self.stage is not None:
            found.append(Run.stage == self.stage)
        if self.worker:
            found.append(Run.worker == self.worker)
        if self.code:
            found += [Run.state == RunState.FAILED, CODE.is_not_distinct_from(self.code)]
        return found


@dataclass(frozen=True)
class RunLine:
    """One run with its submission."""

    id: str
    submission: str
    method: str
    participant: str
    board: str
    submission_state: str
    rehearsal: bool
    stage: Stage
    seed: int
    queue: str
    state: RunState
    worker: str | None
    attempts: int
    since: datetime | None
    """When it ended, was taken up or was queued, whatever came last."""
    code: str | None


@dataclass(frozen=True)
class AccountLine:
    """An account as organisers see it: no address, no secret."""

    id: str
    name: str
    role: Role
    created_at: datetime
    has_password: bool
    tokens: int
    submissions: int
    used_today: int
    """Places in quotas, over all boards; rehearsals and what was given back left out."""
    used: int
    last_seen: datetime | None


@dataclass(frozen=True)
class PinnedLine:
    """An entry that others are compared with."""

    submission: str
    method: str
    participant: str
    state: str


class ListRepository:
    """Pages of long lists."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def submissions_of(self, wanted: RunFilter, limit: int, offset: int = 0) -> list[str]:
        """Ids of the submissions that have such runs, the newest first. Submissions are sorted, not runs: there are
        many more of those, and their rows are wide."""
        query = select(Submission.id).where(*wanted.of_submission())
        of_run = wanted.of_run()
        if wanted.rare:
            query = query.where(Submission.id.in_(select(Run.submission_id).where(*of_run)))
        elif of_run:
            query = query.where(exists().where(Run.submission_id == Submission.id, *of_run))
        order = (Submission.created_at.desc(), Submission.id)
        return list(self.session.scalars(query.order_by(*order).limit(limit).offset(offset)))

    def runs(self, submissions: Sequence[str], wanted: RunFilter) -> list[RunLine]:
        """Such runs of some submissions, those of the newest first, in the order in which they are carried out."""
        columns = (
            *(Run.id, Run.submission_id, Submission.method, User.name, Submission.board_name, Submission.state),
            *(Submission.rehearsal, Run.stage, Run.seed, Run.queue, Run.state, Run.worker, Run.attempt_count),
            *(func.coalesce(Run.finished_at, Run.started_at, Run.queued_at), CODE),
        )
        query = select(*columns).select_from(Run).join(Submission, Submission.id == Run.submission_id)
        query = query.join(User, User.id == Submission.user_id)
        query = query.where(Submission.id.in_(submissions), *wanted.of_run())
        order = (Submission.created_at.desc(), Submission.id, Run.position, Run.id)
        return [RunLine(*row) for row in self.session.execute(query.order_by(*order))]

    def accounts(self, search: str, role: Role | None, limit: int, offset: int, today: dt.date) -> list[AccountLine]:
        """Accounts that are not deleted, by name."""
        query = select(User).where(User.deleted_at.is_(None)).order_by(User.name_key)
        if search:
            query = query.where(User.name_key.contains(search.lower(), autoescape=True))
        if role is not None:
            query = query.where(User.role == role)
        return self._lines(list(self.session.scalars(query.limit(limit).offset(offset))), today)

    def account(self, name: str, today: dt.date) -> AccountLine | None:
        """One account that is not deleted."""
        query = select(User).where(User.name_key == name.lower(), User.deleted_at.is_(None))
        return next(iter(self._lines(list(self.session.scalars(query)), today)), None)

    def pinned(self, board: str, limit: int) -> list[PinnedLine]:
        """A board's baselines, in the order in which they were handed in."""
        query = select(Submission).where(Submission.board_name == board, Submission.baseline)
        rows = self.session.scalars(query.order_by(Submission.created_at, Submission.id).limit(limit))
        return [PinnedLine(row.id, row.method, row.user.name, row.state) for row in rows]

    def _lines(self, users: Sequence[User], today: dt.date) -> list[AccountLine]:
        ids = [user.id for user in users]
        tokens = self._by_user(ApiToken.user_id, func.count(), ids)
        handed_in = self._by_user(Submission.user_id, func.count(), ids)
        counted = (QuotaEntry.state != QuotaState.REFUNDED, ~QuotaEntry.rehearsal)
        used = self._by_user(QuotaEntry.user_id, func.count(), ids, *counted)
        used_today = self._by_user(QuotaEntry.user_id, func.count(), ids, *counted, QuotaEntry.day == today)
        uses = [self._by_user(kind.user_id, func.max(kind.last_used_at), ids) for kind in (ApiToken, WebSession)]
        return [
            AccountLine(
                id=user.id,
                name=user.name,
                role=user.role,
                created_at=user.created_at,
                has_password=user.password_hash is not None,
                tokens=tokens.get(user.id, 0),
                submissions=handed_in.get(user.id, 0),
                used_today=used_today.get(user.id, 0),
                used=used.get(user.id, 0),
                last_seen=max((at for found in uses if (at := found.get(user.id)) is not None), default=None),
            )
            for user in users
        ]

    def _by_user(
        self, user_id: Any, value: Any, ids: Sequence[str], *conditions: ColumnElement[bool]
    ) -> dict[str, Any]:
        query = select(user_id, value).where(user_id.in_(ids), *conditions).group_by(user_id)
        return {row[0]: row[1] for row in self.session.execute(query)}
