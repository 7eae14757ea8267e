"""SQL of accounts."""

from __future__ import annotations

from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import ApiToken, User, WebSession
from datacomp_server.database import hold_lock

Row = TypeVar("Row", User, ApiToken, WebSession)


class AccountRepository:
    """Users, tokens and web sessions."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def user_by_name(self, name: str) -> User | None:
        """The account of that name, whatever its case."""
        return self.session.scalar(select(User).where(User.name_key == name.lower()))

    def add(self, row: Row) -> Row:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()
        return row

    def lock_names(self) -> None:
        """Let one registration at a time look for its name."""
        hold_lock(self.session, "users")

    def lock_user(self, user_id: str) -> None:
        """Hold the user's row until the transaction ends: serialises what counts against a user's quota."""
        self.session.execute(select(User.id).where(User.id == user_id).with_for_update())

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

    def web_session(self, digest: str) -> WebSession | None:
        """The browser session with that digest, expired or not."""
        return self.session.scalar(select(WebSession).where(WebSession.digest == digest))

    def delete_web_session(self, digest: str) -> None:
        """Forget a browser session."""
        self.session.execute(delete(WebSession).where(WebSession.digest == digest))

    def delete_expired_sessions(self, at: datetime) -> None:
        """Forget browser sessions that ended."""
        self.session.execute(delete(WebSession).where(WebSession.expires_at < at))
