"""SQL of teams."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import Team, TeamInvite, TeamMember, User

Row = TypeVar("Row", Team, TeamMember, TeamInvite)


class TeamRepository:
    """Teams, who is in them, and invitations."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Row) -> Row:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()
        return row

    def lock(self, team_id: str) -> Team | None:
        """The team as it is now, held until the transaction ends: serialises what counts against its quota."""
        query = select(Team).where(Team.id == team_id).with_for_update()
        return self.session.scalar(query.execution_options(populate_existing=True))

    def membership(self, user_id: str) -> TeamMember | None:
        """An account's present membership, as it is now."""
        query = select(TeamMember).where(TeamMember.user_id == user_id, TeamMember.left_at.is_(None))
        return self.session.scalar(query.execution_options(populate_existing=True))

    def members(self, team_id: str) -> list[TeamMember]:
        """Who is in a team now, the first to join first."""
        query = select(TeamMember).where(TeamMember.team_id == team_id, TeamMember.left_at.is_(None))
        return list(self.session.scalars(query.order_by(TeamMember.joined_at, TeamMember.id)))

    def member(self, team_id: str, name: str) -> TeamMember | None:
        """The member of that name."""
        query = select(TeamMember).join(User, User.id == TeamMember.user_id)
        query = query.where(TeamMember.team_id == team_id, TeamMember.left_at.is_(None))
        return self.session.scalar(query.where(User.name_key == name.lower()))

    def history(self, user_id: str) -> list[TeamMember]:
        """All times that an account was in a team."""
        query = select(TeamMember).where(TeamMember.user_id == user_id).order_by(TeamMember.joined_at)
        return list(self.session.scalars(query))

    # --- invitations

    def invite(self, digest: str) -> TeamInvite | None:
        """The invitation with that digest, expired or not."""
        return self.session.scalar(select(TeamInvite).where(TeamInvite.digest == digest))

    def use_invite(self, invite_id: str, at: datetime) -> bool:
        """Take one use of an invitation; False when none is left, or it expired."""
        query = update(TeamInvite).where(
            TeamInvite.id == invite_id, TeamInvite.uses_left > 0, TeamInvite.expires_at > at
        )
        used = query.values(uses_left=TeamInvite.uses_left - 1).returning(TeamInvite.id)
        return self.session.scalar(used) is not None

    def invites(self, team_id: str, at: datetime) -> list[TeamInvite]:
        """Invitations that still work, newest first."""
        query = select(TeamInvite).where(
            TeamInvite.team_id == team_id, TeamInvite.uses_left > 0, TeamInvite.expires_at > at
        )
        return list(self.session.scalars(query.order_by(TeamInvite.created_at.desc())))

    def delete_invites(self, team_id: str, invite_id: str | None = None) -> int:
        """Delete one or all of a team's invitations; returns how many."""
        query = delete(TeamInvite).where(TeamInvite.team_id == team_id)
        if invite_id is not None:
            query = query.where(TeamInvite.id == invite_id)
        return len(self.session.scalars(query.returning(TeamInvite.id)).all())

    def delete_useless_invites(self, at: datetime) -> None:
        """Delete invitations that lead nowhere any more."""
        self.session.execute(delete(TeamInvite).where(or_(TeamInvite.expires_at <= at, TeamInvite.uses_left < 1)))

    def names(self, user_ids: set[str]) -> dict[str, str]:
        """Names of accounts, by id."""
        query = select(User.id, User.name).where(User.id.in_(user_ids))
        return dict(self.session.execute(query).tuples().all())
