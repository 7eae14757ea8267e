"""SQL of the audit log. There is no update; whole lines are deleted once they are as old as the settings say."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.orm import Session, aliased

from datacomp_server.accounts.models import User
from datacomp_server.audit.models import AuditLine

Found = tuple[AuditLine, str | None, str | None]
"""A line with the present names of its actor and its subject."""


class AuditRepository:
    """Lines of the audit log."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, line: AuditLine) -> None:
        """Append a line."""
        self.session.add(line)
        self.session.flush()

    def lines(self, *, what: str | None, account: str | None, before: int | None, limit: int) -> list[Found]:
        """Lines of a kind, that concern an account (its id), below an id; newest first."""
        conditions = []
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
