"""SQL of webhooks and notices."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import TeamMember, User
from datacomp_server.notices.models import Notice, Webhook

Row = TypeVar("Row", Webhook, Notice)


class NoticeRepository:
    """Webhooks, and what is owed."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Row) -> Row:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()
        return row

    # --- webhooks

    def webhook(self, webhook_id: str) -> Webhook | None:
        """The webhook of that id."""
        return self.session.get(Webhook, webhook_id)

    def webhooks(self, user_ids: list[str]) -> list[Webhook]:
        """Webhooks of some accounts, oldest first."""
        query = select(Webhook).where(Webhook.user_id.in_(user_ids))
        return list(self.session.scalars(query.order_by(Webhook.created_at, Webhook.id)))

    def delete_webhook(self, user_id: str, webhook_id: str) -> bool:
        """Delete an account's webhook; False when there is none of that id."""
        query = delete(Webhook).where(Webhook.id == webhook_id, Webhook.user_id == user_id)
        return self.session.scalar(query.returning(Webhook.id)) is not None

    # --- who is told

    def audience(self, user_id: str, team_id: str | None) -> list[User]:
        """Whom a submission concerns: its participant, and the present members of its team."""
        query = select(User).where(User.deleted_at.is_(None))
        if team_id is None:
            return list(self.session.scalars(query.where(User.id == user_id)))
        members = select(TeamMember.user_id).where(TeamMember.team_id == team_id, TeamMember.left_at.is_(None))
        return list(self.session.scalars(query.where(User.id.in_(members) | (User.id == user_id)).order_by(User.id)))

    # --- notices

    def has_due(self, at: datetime) -> bool:
        """Whether a notice is due."""
        return self.session.scalar(select(Notice.id).where(Notice.due_at <= at).limit(1)) is not None

    def take_due(self, at: datetime, limit: int) -> list[Notice]:
        """Notices that are due and that no other dispatcher holds, the longest due first."""
        query = select(Notice).where(Notice.due_at <= at).order_by(Notice.due_at).limit(limit)
        return list(self.session.scalars(query.with_for_update(skip_locked=True)))

    def notice(self, notice_id: str) -> Notice | None:
        """The notice of that id, as it is now, held until the transaction ends."""
        query = select(Notice).where(Notice.id == notice_id).with_for_update()
        return self.session.scalar(query.execution_options(populate_existing=True))

    def of_user(self, user_id: str, limit: int) -> list[Notice]:
        """What was and will be told to an account, newest first."""
        query = select(Notice).where(Notice.user_id == user_id)
        return list(self.session.scalars(query.order_by(Notice.created_at.desc(), Notice.id).limit(limit)))

    def forget_settled(self, before: datetime) -> None:
        """Delete notices that were delivered or given up before a time."""
        settled = or_(Notice.delivered_at < before, Notice.given_up_at < before)
        self.session.execute(delete(Notice).where(settled))

    def delete_of(self, user_id: str) -> None:
        """Delete everything of an account."""
        self.session.execute(delete(Notice).where(Notice.user_id == user_id))
        self.session.execute(delete(Webhook).where(Webhook.user_id == user_id))
