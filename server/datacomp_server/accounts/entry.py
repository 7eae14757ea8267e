"""The ways in by password: registration, sign-in, tokens; and the change of a password.

These have transactions of their own, because a wrong password must be noted though the request is refused, and because
nobody else's write may wait while a password is hashed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import Credentials, Deletion, Registration, TokenOut
from datacomp.problems import BadInput
from datacomp_server.accounts.models import Role, User
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_password, is_outdated, password_matches
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService, SignedIn
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.errors import Conflict, Forbidden, TooManyRequests, Unauthorised
from datacomp_server.settings import Settings


@dataclass(frozen=True)
class Entry:
    """Whoever knows the password comes in."""

    database: Database
    settings: Settings

    def register(self, registration: Registration, label: str = "cli") -> TokenOut:
        """A new participant with a first token. `Conflict` when the name is taken."""
        hashed = self._hash_for(registration)
        with self.database.write() as session:
            accounts = AccountService(session, self.settings)
            return accounts.make_token(accounts.create_participant(registration, hashed), label)

    def register_and_sign_in(self, registration: Registration) -> SignedIn:
        """A new participant with a browser session."""
        hashed = self._hash_for(registration)
        with self.database.write() as session:
            user = AccountService(session, self.settings).create_participant(registration, hashed)
            return SessionService(session, self.settings).open(user, "registration")

    def new_token(self, credentials: Credentials) -> TokenOut:
        """A new token for an account's password."""
        user = self.check(credentials.name, credentials.password)
        with self.database.write() as session:
            return AccountService(session, self.settings).make_token(
                self._still(session, user),
                credentials.label,
                scopes=credentials.scopes,
                expires_days=credentials.expires_days,
            )

    def sign_in(self, name: str, password: str) -> SignedIn:
        """Open a browser session. `Unauthorised` when name or password is wrong."""
        user = self.check(name, password)
        with self.database.write() as session:
            return SessionService(session, self.settings).open(self._still(session, user), "password")

    def change_password(self, viewer: Viewer, current: str, new: str) -> None:
        """Give the account another password; every other browser session ends. Tokens stay until they are revoked.

        An account that has none, because it came from another provider, gets its first from a browser session alone.
        """
        with self.database.read() as session:
            known = AccountService(session, self.settings).user(viewer).password_hash
        if known is not None:
            self.check(viewer.name, current)
        elif viewer.session_id is None or viewer.role is Role.WORKER:
            raise Forbidden.of(
                "password-by-browser", "the account has no password", hint="give it one on its page, signed in"
            )
        hashed = hash_password(new)
        with self.database.write() as session:
            accounts = AccountRepository(session)
            user = accounts.lock_user(viewer.user_id)
            if user is None or user.password_hash != known:
                raise Conflict.of("password-changed", "the password was changed meanwhile", hint="sign in again")
            user.password_hash = hashed
            accounts.delete_sessions(user.id, keep=viewer.session_id)
            Audit(session, self.settings).note(Act.PASSWORD_CHANGED, actor=user.id, subject=user.id)

    def confirm(self, viewer: Viewer, deletion: Deletion) -> None:
        """Make sure that it is the owner who deletes an account: by its name, and its password where it has one."""
        if deletion.name.lower() != viewer.name.lower():
            message = "the name that was typed is not the account's"
            raise BadInput.of("name-differs", message, where="name", hint=f"type {viewer.name}")
        with self.database.read() as session:
            has_password = AccountService(session, self.settings).user(viewer).password_hash is not None
        if has_password:
            self.check(viewer.name, deletion.password)

    def check(self, name: str, password: str) -> User:
        """The account of a name and its password.

        Raises `Unauthorised`, and `TooManyRequests` after too many wrong ones, whether this one is right or not.
        Takes as long for a name that nobody has.
        """
        with self.database.read() as session:
            user = AccountRepository(session).user_by_name(name)
            locked = Audit(session, self.settings).locked_until(user.id) if user else None
        if locked is not None:
            refusal = TooManyRequests.of(
                "sign-in-locked",
                "too many wrong passwords were given for this name",
                where="name",
                hint="wait, then try again; open sessions and tokens go on meanwhile",
            )
            refusal.retry_after = max(math.ceil((locked - now()).total_seconds()), 1)
            raise refusal
        if password_matches(user.password_hash if user else None, password) and user is not None:
            self._renew_hash(user, password)
            return user
        with self.database.write() as session:
            subject = user.id if user else None
            Audit(session, self.settings).note(Act.SIGN_IN_FAILED, actor=None, subject=subject)
        raise Unauthorised.of(
            "credentials-wrong", "name or password is wrong", where="password", hint="check both, or make an account"
        )

    def _renew_hash(self, user: User, password: str) -> None:
        """Hashes get costlier with the library's versions: take the moment in which the password is known."""
        if is_outdated(user.password_hash or ""):
            hashed = hash_password(password)
            with self.database.write() as session:
                row = AccountRepository(session).lock_user(user.id)
                if row is not None and row.password_hash == user.password_hash:
                    row.password_hash = user.password_hash = hashed

    @staticmethod
    def _still(session: Session, user: User) -> User:
        """The account in this transaction, if its password is the one that was just checked."""
        row = AccountRepository(session).lock_user(user.id)
        if row is None or row.password_hash != user.password_hash:
            raise Unauthorised.of("credentials-wrong", "the password was changed meanwhile", hint="sign in again")
        return row

    def _hash_for(self, registration: Registration) -> str:
        """The hash of a new account's password, once it is clear that the account could be made."""
        with self.database.read() as session:
            AccountService(session, self.settings).check_open(registration.name)
        return hash_password(registration.password)
