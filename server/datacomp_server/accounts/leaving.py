"""Leaving for good: what is deleted with an account, and what stays of it.

Deleted: name, address, password, tokens, sessions, identities elsewhere, webhooks, notices. The row stays under a name
that says nothing, because the leaderboard's history, the quota ledger and the audit log refer to it. Submissions under
way are cancelled. Of the others the leaver chooses: `anonymise` leaves their results on the boards under that name,
`withdraw` takes them off. What belongs to a team with other members stays the team's.
"""

from __future__ import annotations

import secrets

from sqlalchemy.orm import Session

from datacomp.messages import Keep
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.service import RESERVED_PREFIX, Viewer
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import Forbidden, NotFound
from datacomp_server.notices.repository import NoticeRepository
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.submissions.states import FINAL, SCORED
from datacomp_server.teams.service import TeamService


class LeavingService:
    """Deletes accounts, in the caller's transaction."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.accounts = AccountRepository(session)
        self.submissions = SubmissionRepository(session)
        self.service = SubmissionService(session, settings, storage)
        self.teams = TeamService(session, settings)
        self.notices = NoticeRepository(session)
        self.audit = Audit(session, settings)

    def delete(self, viewer: Viewer, keep: Keep) -> None:
        """Delete the viewer's account. `Conflict` for the owner of a team that others are in."""
        if viewer.role is Role.WORKER:
            hint = "an administrator removes it from the settings"
            raise Forbidden.of("worker-stays", "a worker's account cannot delete itself", hint=hint)
        user = self.accounts.lock_user(viewer.user_id)
        if user is None or user.deleted_at is not None:
            raise NotFound.of("account-unknown", "the account is gone")
        for submission_id in self.submissions.ids_of_person(user.id):
            self._end(viewer, self.service.lock(submission_id), keep)
        if viewer.team_id is not None:
            self.teams.leave(viewer)
        self.audit.note(Act.ACCOUNT_DELETED, actor=user.id, subject=user.id, submissions=keep.value)
        self.accounts.delete_tokens(user.id)
        self.accounts.delete_sessions(user.id)
        self.accounts.delete_identities(user.id)
        self.notices.delete_of(user.id)
        anonymous = RESERVED_PREFIX + secrets.token_hex(4)
        self.submissions.anonymise_events(user.name, user.role.value, anonymous)
        user.name, user.name_key = anonymous, anonymous
        user.email, user.email_confirmed_at, user.mail_on_final = None, None, False
        user.password_hash, user.deleted_at, user.role = None, now(), Role.PARTICIPANT

    def _end(self, viewer: Viewer, submission: Submission, keep: Keep) -> None:
        """End what is the leaver's own. A team that goes on keeps what is its own."""
        if submission.team_id is not None and submission.team_id != viewer.team_id:
            return
        if submission.team_id is not None and len(self.teams.teams.members(submission.team_id)) > 1:
            return
        if submission.state not in FINAL:
            self.service.cancel(viewer, submission.id)
        elif submission.state == SCORED and keep is Keep.WITHDRAW:
            self.service.withdraw(viewer, submission.id)
