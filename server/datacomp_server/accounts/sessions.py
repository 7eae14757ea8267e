"""Browser sessions: opened, listed, closed one by one or all at once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from datacomp.messages import SessionInfo
from datacomp_server.accounts.models import User, WebSession
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_secret, new_secret
from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import NotFound
from datacomp_server.requests import current_request
from datacomp_server.settings import Settings


@dataclass(frozen=True)
class SignedIn:
    """A new browser session; `cookie` is the only copy of its secret."""

    cookie: str
    viewer: Viewer
    max_age: int
    """Seconds."""


class SessionService:
    """Everything about browser sessions."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.accounts = AccountRepository(session)
        self.audit = Audit(session, settings)
        self.settings = settings

    def open(self, user: User, how: str) -> SignedIn:
        """A new session for somebody who proved to be the user; `how` they did (`password`, or a provider)."""
        lifetime = timedelta(days=self.settings.session_days)
        at, request = now(), current_request()
        self.accounts.delete_expired_sessions(at)
        cookie, csrf = new_secret(), secrets.token_urlsafe(24)
        row = WebSession(user_id=user.id, digest=hash_secret(cookie), csrf=csrf, created_at=at, last_used_at=at)
        row.expires_at = at + lifetime
        row.client = request.client if request else ""
        row.address = request.address if request and self.settings.record_addresses else None
        self.accounts.add(row)
        self.audit.note(Act.SIGNED_IN, actor=user.id, subject=user.id, about=row.id, how=how)
        viewer = Viewer(user.id, user.name, user.role, csrf, session_id=row.id)
        return SignedIn(cookie, viewer, int(lifetime.total_seconds()))

    def list_open(self, viewer: Viewer) -> list[SessionInfo]:
        """The viewer's sessions, newest first."""
        return [
            SessionInfo(
                id=row.id,
                client=row.client,
                address=row.address,
                created_at=row.created_at,
                last_used_at=row.last_used_at,
                expires_at=row.expires_at,
                current=row.id == viewer.session_id,
            )
            for row in self.accounts.sessions_of(viewer.user_id, now())
        ]

    def close(self, viewer: Viewer, session_id: str) -> None:
        """Close one of the viewer's sessions."""
        if not self.accounts.delete_session(viewer.user_id, session_id):
            raise NotFound.of("session-unknown", "there is no such session", where=session_id)
        self.audit.note(Act.SIGNED_OUT, actor=viewer.user_id, subject=viewer.user_id, about=session_id)

    def close_all(self, viewer: Viewer, *, tokens: bool = False) -> int:
        """Sign out everywhere, here too; with `tokens` also delete the API tokens. Returns how many sessions."""
        closed = self.accounts.delete_sessions(viewer.user_id)
        if tokens:
            self.accounts.delete_tokens(viewer.user_id)
        self.audit.note(Act.SIGNED_OUT_EVERYWHERE, actor=viewer.user_id, subject=viewer.user_id, tokens=tokens)
        return closed
