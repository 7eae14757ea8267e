"""Rules of webhooks and mail: who may have them, and what is owed when a submission ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from datacomp.messages import MailSetting, MailSettingOut, NoticeOut, WebhookInfo, WebhookOut
from datacomp.problems import BadInput
from datacomp_server.accounts.models import User
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import Conflict, Forbidden, NotFound, TooManyRequests
from datacomp_server.notices.addresses import check_url
from datacomp_server.notices.models import Notice, NoticeKind, Webhook
from datacomp_server.notices.repository import NoticeRepository
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.receipts import receipt_url

MOST_WEBHOOKS = 5
MAIL = "mail"
LINKS_A_DAY = 5
"""So many links for confirmation are sent for an account: nobody's mailbox is flooded from here."""


class NoticeService:
    """Everything that people do with webhooks and mail, in the caller's transaction."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.notes = NoticeRepository(session)
        self.accounts = AccountRepository(session)
        self.audit = Audit(session, settings)

    # --- what is owed

    def on_final(self, submission: Submission) -> None:
        """Note what is owed because a submission ended. Called in the transaction that ended it."""
        if not (self.settings.webhooks or self.settings.mail):
            return
        event = f"submission.{submission.state}"
        audience = self.notes.audience(submission.user_id, submission.team_id)
        if self.settings.webhooks:
            for webhook in self.notes.webhooks([user.id for user in audience]):
                self._owe(NoticeKind.WEBHOOK, webhook.id, webhook.user_id, submission, event)
        if self.settings.mail:
            for user in audience:
                if user.mail_on_final and user.email and user.email_confirmed_at:
                    self._owe(NoticeKind.MAIL, MAIL, user.id, submission, event)

    def _owe(self, kind: NoticeKind, target: str, user_id: str, submission: Submission, event: str) -> None:
        notice = Notice(kind=kind, target=target, user_id=user_id, submission_id=submission.id, event=event)
        notice.body = {"state": submission.state}
        notice.created_at = notice.due_at = now()
        self.notes.add(notice)

    # --- webhooks

    def webhooks(self, viewer: Viewer) -> list[WebhookInfo]:
        """The viewer's webhooks."""
        return [
            WebhookInfo(id=row.id, url=row.url, created_at=row.created_at)
            for row in self.notes.webhooks([viewer.user_id])
        ]

    def add_webhook(self, viewer: Viewer, url: str) -> WebhookOut:
        """A new webhook. `BadInput` for an address that will not be called; it is looked up anew at every call."""
        if not self.settings.webhooks:
            raise Forbidden.of("webhooks-off", "this platform calls no webhooks", hint="ask the organisers")
        check_url(url, private=self.settings.webhook_private)
        self.accounts.lock_user(viewer.user_id)
        if len(self.notes.webhooks([viewer.user_id])) >= MOST_WEBHOOKS:
            raise Conflict.of("webhooks-full", f"you have {MOST_WEBHOOKS} webhooks already", hint="delete one first")
        row = self.notes.add(Webhook(user_id=viewer.user_id, url=url, salt=secrets.token_hex(16)))
        self.audit.note(Act.WEBHOOK_MADE, actor=viewer.user_id, subject=viewer.user_id, about=row.id)
        return WebhookOut(id=row.id, url=url, created_at=row.created_at, secret=webhook_secret(self.settings, row))

    def delete_webhook(self, viewer: Viewer, webhook_id: str) -> None:
        """Delete one of the viewer's webhooks; what is still owed to it is not sent."""
        if not self.notes.delete_webhook(viewer.user_id, webhook_id):
            raise NotFound.of("webhook-unknown", "there is no such webhook", where=webhook_id)
        self.audit.note(Act.WEBHOOK_DELETED, actor=viewer.user_id, subject=viewer.user_id, about=webhook_id)

    def notices(self, viewer: Viewer, limit: int = 100) -> list[NoticeOut]:
        """What was and will be told to the viewer, newest first."""
        urls = {row.id: row.url for row in self.notes.webhooks([viewer.user_id])}
        email = self._user(viewer).email
        return [
            NoticeOut(
                id=row.id,
                kind=row.kind.value,
                to=(email or "") if row.kind is NoticeKind.MAIL else urls.get(row.target, "a deleted webhook"),
                submission=row.submission_id,
                event=row.event,
                created_at=row.created_at,
                due_at=row.due_at,
                tries=row.tries,
                delivered_at=row.delivered_at,
                given_up_at=row.given_up_at,
                error=row.error,
            )
            for row in self.notes.of_user(viewer.user_id, limit)
        ]

    # --- mail

    def mail(self, viewer: Viewer) -> MailSettingOut:
        """The viewer's wishes about mail."""
        user = self._user(viewer)
        return MailSettingOut(
            available=self.settings.mail,
            email=user.email,
            confirmed=user.email_confirmed_at is not None,
            on_final=user.mail_on_final,
        )

    def set_mail(self, viewer: Viewer, wish: MailSetting) -> str | None:
        """Change the wishes; returns the address that a link for confirmation must be sent to, if any."""
        user = self._user(viewer)
        email = (wish.email or "").strip() or user.email
        if wish.on_final and not self.settings.mail:
            raise Forbidden.of("mail-off", "this platform sends no mail", hint="ask the organisers")
        if wish.on_final and not email:
            raise BadInput.of("email-missing", "there is no address to send mail to", where="email")
        if email is not None and email != user.email:
            check_email(email)
            user.email, user.email_confirmed_at = email, None
            self.audit.note(Act.EMAIL_CHANGED, actor=user.id, subject=user.id)
        user.mail_on_final = wish.on_final
        if not wish.on_final or user.email_confirmed_at is not None:
            return None
        since = now() - timedelta(days=1)
        if self.audit.count_since(Act.EMAIL_LINK_SENT, user.id, since, LINKS_A_DAY) >= LINKS_A_DAY:
            raise TooManyRequests.of("links-spent", f"{LINKS_A_DAY} links were sent today", hint="try again tomorrow")
        self.audit.note(Act.EMAIL_LINK_SENT, actor=user.id, subject=user.id)
        return email

    def confirm_email(self, user_id: str, email: str) -> None:
        """The link that was sent to an address was followed. `Conflict` when the account has another address now."""
        user = self.accounts.lock_user(user_id)
        if user is None or user.email != email:
            raise Conflict.of("email-changed", "the account has another address now", hint="ask for another link")
        if user.email_confirmed_at is None:
            user.email_confirmed_at = now()
            self.audit.note(Act.EMAIL_CONFIRMED, actor=user.id, subject=user.id)

    def _user(self, viewer: Viewer) -> User:
        user = self.accounts.user(viewer.user_id)
        if user is None:
            raise NotFound.of("account-unknown", "the account is gone")
        return user


def check_email(email: str) -> None:
    """`BadInput` unless it could be a single address: it becomes a header of a mail."""
    name, at, host = email.rpartition("@")
    odd = not email.isprintable() or any(sign in email for sign in " ,;<>\"'()[]\\:")
    if not (name and at and host) or odd or "." not in host.strip(".") or len(email) > 200:
        raise BadInput.of("email-invalid", "this is not an e-mail address", where="email")


def webhook_secret(settings: Settings, webhook: Webhook) -> str:
    """The secret that deliveries to a webhook are signed with, in the form of the Standard Webhooks specification."""
    return "whsec_" + base64.b64encode(signing_key(settings, webhook)).decode()


def signing_key(settings: Settings, webhook: Webhook) -> bytes:
    """The secret's bytes: derived from the server's key, so that none is stored."""
    material = f"webhook:{webhook.id}:{webhook.salt}".encode()
    return hmac.new(settings.secret_key.get_secret_value().encode(), material, hashlib.sha256).digest()


def describe(submission: Submission, public_url: str) -> dict[str, Any]:
    """What a notice says of its submission. Made when it is sent: a name that is gone by then is not told."""
    return {
        "submission": submission.id,
        "url": receipt_url(public_url, submission.id),
        "board": submission.board_name,
        "method": submission.method,
        "state": submission.state,
        "rehearsal": submission.rehearsal,
        "participant": submission.user.name,
        "team": submission.team.name if submission.team else None,
        "finished_at": submission.finished_at.isoformat() if submission.finished_at else None,
    }
