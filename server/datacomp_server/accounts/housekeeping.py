"""What is forgotten by itself: ended sessions, useless invitations, old notices, and old audit lines on request."""

from __future__ import annotations

from datetime import timedelta

from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.audit.repository import AuditRepository
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.notices.repository import NoticeRepository
from datacomp_server.settings import Settings
from datacomp_server.teams.repository import TeamRepository


def forget_old(database: Database, settings: Settings) -> None:
    """Delete what nobody needs any more. Idempotent; any number of dispatchers may do it."""
    at = now()
    with database.write() as session:
        AccountRepository(session).delete_expired_sessions(at)
        TeamRepository(session).delete_useless_invites(at)
        NoticeRepository(session).forget_settled(at - timedelta(days=settings.keep_notices_days))
        if settings.keep_audit_days is not None:
            AuditRepository(session).forget_before(at - timedelta(days=settings.keep_audit_days))
