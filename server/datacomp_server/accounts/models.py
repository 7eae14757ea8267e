"""Tables of accounts. Secrets are stored hashed only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datacomp_server.clock import new_id, now
from datacomp_server.database import Base, enum_column


class Role(StrEnum):
    """What an account is for."""

    PARTICIPANT = "participant"
    ORGANISER = "organiser"
    WORKER = "worker"


class User(Base):
    """An account. Workers have one too, without a password."""

    __tablename__ = "users"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    """The name in lower case: names that differ only in case would be mistaken for each other."""
    email: Mapped[str | None]
    password_hash: Mapped[str | None]
    role: Mapped[Role] = mapped_column(enum_column(Role))
    created_at: Mapped[datetime] = mapped_column(default=now)
    served_at: Mapped[datetime | None]
    """When a worker last took up a run of this account: whoever waited longest comes first."""


class ApiToken(Base):
    """An API token: only the SHA-256 of its secret is kept."""

    __tablename__ = "api_tokens"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(unique=True)
    label: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_used_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class WebSession(Base):
    """A browser's session: the cookie's SHA-256, and the token that its forms must carry."""

    __tablename__ = "web_sessions"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    digest: Mapped[str] = mapped_column(unique=True)
    csrf: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
