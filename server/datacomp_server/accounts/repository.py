"""SQL of accounts."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import ApiToken, Identity, Team, TeamMember, User, WebSession
from datacomp_server.database import hold_lock

Row = TypeVar("Row", User, ApiToken, WebSession, Identity)


class AccountRepository:
    """Users, tokens, web sessions and identities."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Row) -> Row:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()
        return row

    # --- users

    def user(self, user_id: str) -> User | None:
        """The account of that id."""
        return self.session.get(User, user_id)

    def user_by_name(self, name: str) -> User | None:
        """The account of that name, whatever its case."""
        return self.session.scalar(select(User).where(User.name_key == name.lower()))

    def user_by_email(self, email: str) -> User | None:
        """An account that gave this address, confirmed or not, whatever its case."""
        return next(iter(self.users_by_email(email)), None)

    def users_by_email(self, email: str) -> list[User]:
        """All accounts that gave this address, confirmed or not, whatever its case; by name."""
        query = select(User).where(User.email.is_not(None), User.deleted_at.is_(None))
        return list(
            self.session.scalars(query.where(User.email.ilike(_literal(email), escape="\\")).order_by(User.name))
        )

    def name_taken(self, name: str) -> bool:
        """Whether an account or a team has that name: they stand beside each other on boards."""
        key = name.lower()
        team = self.session.scalar(select(Team.id).where(Team.name_key == key))
        return team is not None or self.user_by_name(name) is not None

    def lock_names(self) -> None:
        """Let one registration at a time look for its name."""
        hold_lock(self.session, "users")

    def lock_user(self, user_id: str) -> User | None:
        """The account as it is now, held until the transaction ends: serialises what counts against its quota."""
        query = select(User).where(User.id == user_id).with_for_update()
        return self.session.scalar(query.execution_options(populate_existing=True))

    def team_of(self, user_id: str) -> Team | None:
        """The team that an account is in."""
        query = select(Team).join(TeamMember, TeamMember.team_id == Team.id)
        return self.session.scalar(query.where(TeamMember.user_id == user_id, TeamMember.left_at.is_(None)))

    # --- tokens

    def token(self, digest: str) -> ApiToken | None:
        """The token with that digest, expired or not."""
        return self.session.scalar(select(ApiToken).where(ApiToken.digest == digest))

    def tokens_of(self, user_id: str) -> list[ApiToken]:
        """A user's tokens, newest first."""
        query = select(ApiToken).where(ApiToken.user_id == user_id).order_by(ApiToken.created_at.desc())
        return list(self.session.scalars(query))

    def delete_token(self, user_id: str, token_id: str) -> bool:
        """Delete a user's token; False when there is none of that id."""
        query = delete(ApiToken).where(ApiToken.id == token_id, ApiToken.user_id == user_id).returning(ApiToken.id)
        return self.session.scalar(query) is not None

    def delete_tokens(self, user_id: str) -> None:
        """Delete all of a user's tokens."""
        self.session.execute(delete(ApiToken).where(ApiToken.user_id == user_id))

    # --- web sessions

    def web_session(self, digest: str) -> WebSession | None:
        """The browser session with that digest, expired or not."""
        return self.session.scalar(select(WebSession).where(WebSession.digest == digest))

    def sessions_of(self, user_id: str, at: datetime) -> list[WebSession]:
        """A user's browser sessions that have not ended, newest first."""
        query = select(WebSession).where(WebSession.user_id == user_id, WebSession.expires_at > at)
        return list(self.session.scalars(query.order_by(WebSession.created_at.desc())))

    def delete_session(self, user_id: str, session_id: str) -> bool:
        """Forget one of a user's browser sessions; False when there is none of that id."""
        query = delete(WebSession).where(WebSession.id == session_id, WebSession.user_id == user_id)
        return self.session.scalar(query.returning(WebSession.id)) is not None

    def delete_sessions(self, user_id: str, keep: str | None = None) -> int:
        """Forget a user's browser sessions, but for one; returns how many."""
        query = delete(WebSession).where(WebSession.user_id == user_id)
        if keep is not None:
            query = query.where(WebSession.id != keep)
        return len(self.session.scalars(query.returning(WebSession.id)).all())

    def delete_expired_sessions(self, at: datetime) -> None:
        """Forget browser sessions that ended."""
        self.session.execute(delete(WebSession).where(WebSession.expires_at < at))

    # --- when they were used

    def last_use(self, *, token_id: str | None, session_id: str | None) -> datetime | None:
        """When a token or a session was last noted to be in use."""
        if token_id is not None:
            return self.session.scalar(select(ApiToken.last_used_at).where(ApiToken.id == token_id))
        return self.session.scalar(select(WebSession.last_used_at).where(WebSession.id == session_id))

    def note_use(self, at: datetime, *, token_id: str | None, session_id: str | None) -> None:
        """Note a use of a token or a session."""
        if token_id is not None:
            self.session.execute(update(ApiToken).where(ApiToken.id == token_id).values(last_used_at=at))
        else:
            self.session.execute(update(WebSession).where(WebSession.id == session_id).values(last_used_at=at))

    # --- identities

    def identity(self, provider: str, subject: str) -> Identity | None:
        """Who that person at a provider is here."""
        query = select(Identity).where(Identity.provider == provider, Identity.subject == subject)
        return self.session.scalar(query)

    def identities_of(self, user_id: str) -> list[Identity]:
        """A user's identities elsewhere."""
        query = select(Identity).where(Identity.user_id == user_id).order_by(Identity.created_at)
        return list(self.session.scalars(query))

    def delete_identities(self, user_id: str, identity_id: str | None = None) -> int:
        """Forget one or all of a user's identities elsewhere; returns how many."""
        query = delete(Identity).where(Identity.user_id == user_id)
        if identity_id is not None:
            query = query.where(Identity.id == identity_id)
        return len(self.session.scalars(query.returning(Identity.id)).all())


def _literal(text: str) -> str:
    """A text as a pattern that matches itself alone."""
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
