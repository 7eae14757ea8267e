"""Forgotten passwords: a link that lets its bearer choose a new one, once.

A link is signed with the server's key and stored nowhere. It holds a digest of the password's hash and the address as
they are when it is made: it ends when it is used, when the password or the address changes, and by itself.

Whoever asks for a link is told the same whether anybody has that address, and after the same time: looking for accounts
and sending mail come after the answer.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from itsdangerous import BadData, URLSafeTimedSerializer

from datacomp.digests import digest_json
from datacomp.problems import BadInput
from datacomp_server.accounts.models import Role, User
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_password
from datacomp_server.accounts.service import AccountService
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.errors import Forbidden
from datacomp_server.notices.sending import NotSent, send_mail
from datacomp_server.settings import Settings

log = logging.getLogger(__name__)
LINK_SECONDS = 3600
LINKS_A_DAY = 5
"""So many are mailed for an account: nobody's mailbox is flooded from here."""


@dataclass(frozen=True)
class PasswordReset:
    """Links for forgotten passwords; with transactions of its own, because hashing and mail servers are slow."""

    database: Database
    settings: Settings

    def require_mail(self) -> None:
        """`Forbidden` where no link can be mailed."""
        if not self.settings.mail:
            hint = "ask the organisers: they can give you a link"
            raise Forbidden.of("mail-off", "this platform sends no mail", hint=hint)

    def mail_links(self, email: str) -> None:
        """Mail a link for every account that may have one by this address. Failures stand in the log alone."""
        with self.database.write() as session:
            audit, since = Audit(session, self.settings), now() - timedelta(days=1)
            links = []
            for user in AccountRepository(session).users_by_email(email):
                if not _by_mail(user):
                    continue
                if audit.count_since(Act.RESET_LINK_SENT, user.id, since, LINKS_A_DAY) < LINKS_A_DAY:
                    audit.note(Act.RESET_LINK_SENT, actor=None, subject=user.id)
                    links.append((user.name, user.email or email, self._link(user)))
        for name, address, link in links:
            self._mail(name, address, link)

    def link_for(self, name: str, actor: str | None = None) -> str:
        """A link for an account, given out by an organiser (the id of an account; None at the server's console).
        `Forbidden` for a worker's."""
        with self.database.write() as session:
            user = AccountService(session, self.settings).named(name)
            if user.role is Role.WORKER:
                raise Forbidden.of("worker-no-password", "workers have tokens, no passwords", where="name")
            Audit(session, self.settings).note(Act.RESET_LINK_MADE, actor=actor, subject=user.id)
            return self._link(user)

    def name_of(self, code: str) -> str | None:
        """Whose password a link may change; None when it is out of date, used, or not ours."""
        try:
            with self.database.read() as session:
                return self._user(AccountRepository(session), code).name
        except BadInput:
            return None

    def reset(self, code: str, password: str, *, tokens: bool = False) -> None:
        """Give the link's account another password. Every browser session ends; with `tokens` API tokens do too.

        Raises `BadInput` for a link that is out of date, used, or not ours.
        """
        if self.name_of(code) is None:
            raise _ended()  # before the dear part: whoever has no link costs us no hash
        hashed = hash_password(password)
        with self.database.write() as session:
            accounts = AccountRepository(session)
            user = self._user(accounts, code, lock=True)
            user.password_hash = hashed
            accounts.delete_sessions(user.id)
            if tokens:
                accounts.delete_tokens(user.id)
            Audit(session, self.settings).note(Act.PASSWORD_RESET, actor=user.id, subject=user.id, tokens=tokens)

    def _link(self, user: User) -> str:
        code = self._serializer().dumps([user.id, _state(user)])
        return f"{self.settings.public_url}/account/reset?code={quote(code)}"

    def _user(self, accounts: AccountRepository, code: str, *, lock: bool = False) -> User:
        try:
            user_id, state = self._serializer().loads(code, max_age=LINK_SECONDS)
        except (BadData, ValueError, TypeError) as error:
            raise _ended() from error
        user = accounts.lock_user(str(user_id)) if lock else accounts.user(str(user_id))
        if user is None or user.deleted_at is not None or state != _state(user):
            raise _ended()
        return user

    def _mail(self, name: str, address: str, link: str) -> None:
        text = (
            f"Somebody forgot the password of the account {name} at {self.settings.public_url}.\n\n"
            f"If that is you, choose a new one within an hour: {link}\n\nIf it is not, do nothing.\n"
        )
        try:
            send_mail(self.settings, address, "A new password", text)
        except NotSent as error:
            log.warning("a link for a new password could not be sent: %s", error)

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self.settings.secret_key.get_secret_value(), salt="reset-password")


def _by_mail(user: User) -> bool:
    """Whether a link may be mailed. Accounts that never had a password come in another way; an organiser's may do
    everything, so the address must have been confirmed."""
    if user.role is Role.WORKER or user.password_hash is None:
        return False
    return user.role is not Role.ORGANISER or user.email_confirmed_at is not None


def _state(user: User) -> str:
    """What a link is bound to: something else after it was used."""
    return digest_json([user.password_hash, user.email])[:32]


def _ended() -> BadInput:
    hint = "ask for another link"
    return BadInput.of("link-expired", "this link is out of date, was used already, or is not complete", "code", hint)
