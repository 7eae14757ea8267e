"""Tables of accounts and teams. Secrets are stored hashed only."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy import ForeignKey, Index, UniqueConstraint
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
    email_confirmed_at: Mapped[datetime | None]
    """When its owner proved that the address is theirs; mail goes to no other."""
    mail_on_final: Mapped[bool] = mapped_column(default=False)
    """Whether a mail is wanted when a submission ends."""
    deleted_at: Mapped[datetime | None]
    """Set once the account was deleted: the row stays without name, address and password, because history names it."""


class Identity(Base):
    """An account at another provider that may sign in to an account here."""

    __tablename__ = "identities"
    __table_args__ = (UniqueConstraint("provider", "subject"),)

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    subject: Mapped[str]
    """The provider's own unchanging id of the person, never a name or an address."""
    login: Mapped[str]
    """What the person is called there, to tell identities apart on the account's page."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


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
    scopes: Mapped[list[str]] = mapped_column(default=list)
    """What it may be used for; see `datacomp.messages.Scope`."""
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
    last_used_at: Mapped[datetime | None]
    client: Mapped[str] = mapped_column(default="")
    """What the browser calls itself, shortened."""
    address: Mapped[str | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)


class Team(Base):
    """People who submit together: one name on boards, one quota, one turn in the queue."""

    __tablename__ = "teams"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    name_key: Mapped[str] = mapped_column(unique=True)
    """As of accounts, with which it shares the names."""
    created_at: Mapped[datetime] = mapped_column(default=now)
    closed_at: Mapped[datetime | None]
    """When its last member left. Its submissions stay its own."""


class TeamMember(Base):
    """Somebody's time in a team. Rows stay when it ends: quotas count what was submitted meanwhile."""

    __tablename__ = "team_members"
    __table_args__ = (
        Index(
            "ix_team_members_user_id_current",
            "user_id",
            unique=True,
            sqlite_where=sa.text("left_at IS NULL"),
            postgresql_where=sa.text("left_at IS NULL"),
        ),
        Index(None, "team_id", "left_at"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    owner: Mapped[bool]
    joined_at: Mapped[datetime] = mapped_column(default=now)
    left_at: Mapped[datetime | None]
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
    team: Mapped[Team] = relationship(lazy="joined", innerjoin=True)


class TeamInvite(Base):
    """A code that lets people join a team: only its SHA-256 is kept."""

    __tablename__ = "team_invites"

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    team_id: Mapped[str] = mapped_column(ForeignKey("teams.id"), index=True)
    digest: Mapped[str] = mapped_column(unique=True)
    created_by: Mapped[str] = mapped_column(ForeignKey("users.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    expires_at: Mapped[datetime]
    uses_left: Mapped[int]
    team: Mapped[Team] = relationship(lazy="joined", innerjoin=True)
