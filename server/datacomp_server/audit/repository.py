"""SQL of the audit log. There is no update; whole lines are deleted once they are as old as the settings say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session, aliased

from datacomp_server.accounts.models import User
from datacomp_server.audit.models import AuditLine
from datacomp_server.submissions.models import Submission

Found = tuple[AuditLine, str | None, str | None]
"""A line with the present names of its actor and its subject."""


@dataclass(frozen=True)
class Within:
    """What lines must be of, beside their kind and the account that they concern; None: anything."""

    actor: str | None = None
    """Id of the account that did it."""
    board: str | None = None
    """Name of a board: what was done to it, or to submissions to it."""
    since: datetime | None = None
    until: datetime | None = None
    """Before this moment."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """As SQL."""
        found: list[ColumnElement[bool]] = []
        if self.actor is not None:
            found.append(AuditLine.actor_id == self.actor)
        if self.board is not None:
            of_board = select(Submission.id).where(Submission.board_name == self.board)
            found.append(or_(AuditLine.about == self.board, AuditLine.about.in_(of_board)))
        if self.since is not None:
            found.append(AuditLine.at >= self.since)
        if self.until is not None:
            found.append(AuditLine.at < self.until)
        return found


class AuditRepository:
    """Lines of the audit log."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, line: AuditLine) -> None:
        """Append a line."""
        self.session.add(line)
        self.session.flush()

    def lines(
        self, *, what: str | None, account: str | None, before: int | None, limit: int, within: Within
    ) -> list[Found]:
        """Lines of a kind, that concern an account (its id), below an id; newest first."""
        conditions = within.conditions()
        if what is not None:
            conditions.append(AuditLine.what == what)
        if account is not None:
            conditions.append(_concerns(account))
        if before is not None:
            conditions.append(AuditLine.id < before)
        actor, subject = aliased(User), aliased(User)
        query = (
            select(AuditLine, actor.name, subject.name)
            .outerjoin(actor, actor.id == AuditLine.actor_id)
            .outerjoin(subject, subject.id == AuditLine.subject_id)
            .where(*conditions)
        )
        rows = self.session.execute(query.order_by(AuditLine.id.desc()).limit(limit))
        return [(line, by, to) for line, by, to in rows]

    def forget_before(self, before: datetime) -> None:
        """Delete the lines of before a time."""
        self.session.execute(delete(AuditLine).where(AuditLine.at < before))

    def times(self, what: str, subject_id: str, since: datetime, limit: int) -> list[datetime]:
        """When something last happened to an account, newest first."""
        query = select(AuditLine.at).where(
            AuditLine.what == what, AuditLine.subject_id == subject_id, AuditLine.at > since
        )
        return list(self.session.scalars(query.order_by(AuditLine.id.desc()).limit(limit)))


def _concerns(account: str) -> ColumnElement[bool]:
    return or_(AuditLine.actor_id == account, AuditLine.subject_id == account)
