"""What is noted in the audit log, and who may read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.orm import Session

from datacomp.messages import AuditOut
from datacomp_server.audit.models import AuditLine
from datacomp_server.audit.repository import AuditRepository, Found, Within
from datacomp_server.clock import now
from datacomp_server.requests import current_request
from datacomp_server.settings import Settings


@dataclass(frozen=True)
class Actor:
    """Who does something as an organiser."""

    name: str
    """As histories name them: `organiser:NAME`."""
    user_id: str | None
    """None for whoever has the server's console: that needs no account."""


CONSOLE = Actor("organiser:console", None)


class Act(StrEnum):
    """What is noted."""

    REGISTERED = "registered"
    ACCOUNT_MADE = "account-made"
    ACCOUNT_DELETED = "account-deleted"
    ACCOUNT_EXPORTED = "account-exported"
    ROLE_CHANGED = "role-changed"
    EMAIL_CHANGED = "email-changed"
    EMAIL_LINK_SENT = "email-link-sent"
    EMAIL_CONFIRMED = "email-confirmed"
    SIGNED_IN = "signed-in"
    SIGN_IN_FAILED = "sign-in-failed"
    SIGNED_OUT = "signed-out"
    SIGNED_OUT_EVERYWHERE = "signed-out-everywhere"
    PASSWORD_CHANGED = "password-changed"  # noqa: S105 - the name of an act
    RESET_LINK_SENT = "reset-link-sent"
    RESET_LINK_MADE = "reset-link-made"
    """By an organiser, for somebody else."""
    PASSWORD_RESET = "password-reset"  # noqa: S105 - the name of an act
    TOKEN_MADE = "token-made"  # noqa: S105 - the name of an act
    TOKEN_REVOKED = "token-revoked"  # noqa: S105 - the name of an act
    IDENTITY_LINKED = "identity-linked"
    IDENTITY_UNLINKED = "identity-unlinked"
    TEAM_MADE = "team-made"
    TEAM_INVITED = "team-invited"
    TEAM_INVITE_REVOKED = "team-invite-revoked"
    TEAM_JOINED = "team-joined"
    TEAM_LEFT = "team-left"
    TEAM_REMOVED = "team-removed"
    TEAM_OWNER_CHANGED = "team-owner-changed"
    WEBHOOK_MADE = "webhook-made"
    WEBHOOK_DELETED = "webhook-deleted"
    SUBMISSION_CANCELLED = "submission-cancelled"
    """By an organiser who is not its participant; the same below."""
    SUBMISSION_WITHDRAWN = "submission-withdrawn"
    SUBMISSION_REQUEUED = "submission-requeued"
    BOARDS_APPLIED = "boards-applied"
    PUBLISHED_IMPORTED = "published-imported"
    PUBLISHED_REMOVED = "published-removed"
    SEED_DEVIATION = "seed-deviation"
    BOARD_RESCORED = "board-rescored"
    SUBMISSION_RESCORED = "submission-rescored"
    UIDS_REMOVED = "uids-removed"
    UIDS_RESTORED = "uids-restored"


class Audit:
    """The audit log, in the caller's transaction: what is rolled back was not done and is not noted."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.lines = AuditRepository(session)
        self.settings = settings

    def note(
        self, what: Act, *, actor: str | None, subject: str | None = None, about: str = "", **details: Any
    ) -> None:
        """Append a line. `actor` and `subject` are ids of accounts, `about` of anything; `details` hold no secret."""
        request = current_request()
        line = AuditLine(what=what.value, actor_id=actor, subject_id=subject, about=about, details=details)
        line.request_id = request.id if request else None
        line.address = request.address if request and self.settings.record_addresses else None
        self.lines.add(line)

    def read(
        self,
        *,
        what: str | None = None,
        account: str | None = None,
        before: int | None = None,
        limit: int = 100,
        within: Within | None = None,
    ) -> list[AuditOut]:
        """Lines, newest first. `account` is an id; `before` the id of the last line of the page before."""
        found = self.lines.lines(what=what, account=account, before=before, limit=limit, within=within or Within())
        return [_out(one) for one in found]

    def count_since(self, what: Act, user_id: str, since: datetime, limit: int) -> int:
        """How often something happened to an account since a time; counts no further than the limit."""
        return len(self.lines.times(what, user_id, since, limit))

    def locked_until(self, user_id: str) -> datetime | None:
        """Until when an account takes no password, after too many wrong ones; None when it takes one."""
        window = timedelta(seconds=self.settings.sign_in_lock_seconds)
        since = now() - window
        good = [at for act in (Act.SIGNED_IN, Act.PASSWORD_RESET) for at in self.lines.times(act, user_id, since, 1)]
        wrong = self.lines.times(Act.SIGN_IN_FAILED, user_id, max(good, default=since), self.settings.sign_in_tries)
        return wrong[-1] + window if len(wrong) >= self.settings.sign_in_tries else None


def _out(found: Found) -> AuditOut:
    line, actor, subject = found
    return AuditOut(
        id=line.id,
        at=line.at,
        what=line.what,
        actor=actor,
        subject=subject,
        about=line.about,
        address=line.address,
        request_id=line.request_id,
        details=line.details,
    )
