"""Everything that is stored about somebody, for themselves: all but secrets and files."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import AccountExport, ExportedSubmission, IdentityInfo, Membership
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.notices.service import NoticeService
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.teams.repository import TeamRepository

MOST_LINES = 100_000


@dataclass(frozen=True)
class Exporter:
    """Reads one snapshot; that it did is noted in a transaction of its own."""

    database: Database
    settings: Settings
    storage: Storage

    def export(self, viewer: Viewer) -> AccountExport:
        """All about the viewer."""
        with self.database.write() as session:
            Audit(session, self.settings).note(Act.ACCOUNT_EXPORTED, actor=viewer.user_id, subject=viewer.user_id)
        with self.database.read() as session:
            return self._read(session, viewer)

    def _read(self, session: Session, viewer: Viewer) -> AccountExport:
        accounts = AccountService(session, self.settings)
        user, notices = accounts.user(viewer), NoticeService(session, self.settings)
        return AccountExport(
            exported_at=now(),
            name=user.name,
            role=user.role.value,
            email=user.email,
            email_confirmed_at=user.email_confirmed_at,
            mail_on_final=user.mail_on_final,
            created_at=user.created_at,
            has_password=user.password_hash is not None,
            identities=[
                IdentityInfo(id=row.id, provider=row.provider, login=row.login, created_at=row.created_at)
                for row in AccountRepository(session).identities_of(user.id)
            ],
            teams=[
                Membership(team=row.team.name, owner=row.owner, joined_at=row.joined_at, left_at=row.left_at)
                for row in TeamRepository(session).history(user.id)
            ],
            tokens=accounts.tokens(viewer),
            sessions=SessionService(session, self.settings).list_open(viewer),
            webhooks=notices.webhooks(viewer),
            notices=notices.notices(viewer, limit=MOST_LINES),
            submissions=self._submissions(session, viewer),
            audit=Audit(session, self.settings).read(account=user.id, limit=MOST_LINES),
        )

    def _submissions(self, session: Session, viewer: Viewer) -> list[ExportedSubmission]:
        service = SubmissionService(session, self.settings, self.storage)
        return [
            ExportedSubmission(receipt=service.receipt(submission_id, viewer), events=service.history(submission_id, 0))
            for submission_id in SubmissionRepository(session).ids_of_person(viewer.user_id)
        ]
