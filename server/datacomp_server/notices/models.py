"""Tables of webhooks and of what is owed to them and to people's mailboxes."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datacomp_server.accounts.models import User
from datacomp_server.clock import new_id, now
from datacomp_server.database import Base, enum_column


class Webhook(Base):
    """An address that is told when a submission of its owner, or of the owner's team, ends.

    Its signing secret is derived from the server's key and the salt, and stored nowhere.
    """

    __tablename__ = "webhooks"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    url: Mapped[str]
    salt: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class NoticeKind(StrEnum):
    """How a notice travels."""

    WEBHOOK = "webhook"
    MAIL = "mail"


class Notice(Base):
    """A notice that is owed, written in the transaction that ended the submission; it stays as a record."""

    __tablename__ = "notices"
    __table_args__ = (
        UniqueConstraint("submission_id", "event", "user_id", "target"),
        Index(None, "due_at"),
        Index(None, "user_id", "created_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    """Sent along every time: whoever has seen it before knows a repetition."""
    kind: Mapped[NoticeKind] = mapped_column(enum_column(NoticeKind))
    target: Mapped[str]
    """Id of the webhook, or `mail`."""
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"))
    event: Mapped[str]
    """`submission.scored`, `submission.failed`, ..."""
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(default=now)
    due_at: Mapped[datetime | None]
    """When it is tried next; None once it was delivered or given up."""
    tries: Mapped[int] = mapped_column(default=0)
    delivered_at: Mapped[datetime | None]
    given_up_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(default="")
    """What went wrong the last time."""
