"""Mail addresses: wished for, proved by a link that was sent to them.

With transactions of its own, because mail servers are slow and nobody's write may wait for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from itsdangerous import BadData, URLSafeTimedSerializer

from datacomp.messages import MailSetting, MailSettingOut
from datacomp.problems import BadInput, PlatformFault
from datacomp_server.accounts.service import Viewer
from datacomp_server.database import Database
from datacomp_server.notices.sending import NotSent, send_mail
from datacomp_server.notices.service import NoticeService
from datacomp_server.settings import Settings

LINK_SECONDS = 2 * 86_400


@dataclass(frozen=True)
class Wishes:
    """What people wish about mail."""

    database: Database
    settings: Settings

    def set_mail(self, viewer: Viewer, wish: MailSetting) -> MailSettingOut:
        """Change the wishes, and send a link to an address that is not confirmed."""
        with self.database.write() as session:
            unproved = NoticeService(session, self.settings).set_mail(viewer, wish)
        if unproved is not None:
            self._send_link(viewer, unproved)
        with self.database.read() as session:
            return NoticeService(session, self.settings).mail(viewer)

    def confirm(self, code: str) -> None:
        """A link was followed. `BadInput` when it is not ours, or too old."""
        try:
            user_id, email = self._serializer().loads(code, max_age=LINK_SECONDS)
        except (BadData, ValueError, TypeError) as error:
            raise BadInput.of(
                "link-expired", "this link is out of date, or not complete", where="code", hint="ask for another one"
            ) from error
        with self.database.write() as session:
            NoticeService(session, self.settings).confirm_email(str(user_id), str(email))

    def _send_link(self, viewer: Viewer, email: str) -> None:
        code = self._serializer().dumps([viewer.user_id, email])
        link = f"{self.settings.public_url}/account/confirm?code={quote(code)}"
        text = (
            f"The account {viewer.name} at {self.settings.public_url} asks for mail to this address.\n\n"
            f"If that is you, confirm it: {link}\n\nIf it is not, do nothing.\n"
        )
        try:
            send_mail(self.settings, email, "Confirm your address", text)
        except NotSent as error:
            hint = "try again later, or tell the organisers"
            raise PlatformFault.of("mail-failed", f"the link could not be sent: {error}", hint=hint) from error

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.settings.secret_key.get_secret_value(), salt="confirm-email")
