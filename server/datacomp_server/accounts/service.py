"""Rules of accounts: registration, sign-in, tokens, web sessions."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.orm import Session

from datacomp.messages import AccountOut, Credentials, Registration, TokenOut
from datacomp_server.accounts.models import ApiToken, Role, User, WebSession
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_password, hash_secret, new_secret, password_matches
from datacomp_server.clock import now
from datacomp_server.errors import Conflict, Forbidden, NotFound, Unauthorised
from datacomp_server.settings import Settings

USE_NOTED_EVERY = timedelta(hours=1)
RESERVED_NAMES = frozenset({"worker", "organiser", "admin", "system", "datacomp", "published"})


@dataclass(frozen=True)
class Viewer:
    """Who is asking. Passed to every service; plain data, so it outlives the database session."""

    user_id: str
    name: str
    role: Role
    csrf: str | None = None
    """Of a browser session: the token that its forms must carry."""

    @property
    def organiser(self) -> bool:
        """Whether this account may see and do everything."""
        return self.role is Role.ORGANISER


@dataclass(frozen=True)
class SignedIn:
    """A new browser session; `cookie` is the only copy of its secret."""

    cookie: str
    viewer: Viewer
    max_age: int
    """Seconds."""


@dataclass(frozen=True)
class TokenInfo:
    """A token as its owner sees it later."""

    id: str
    label: str
    created_at: str
    last_used_at: str | None


class AccountService:
    """Everything that can be done with accounts."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.accounts = AccountRepository(session)
        self.settings = settings

    def register(self, registration: Registration, label: str = "cli") -> TokenOut:
        """A new participant with a first token. `Conflict` when the name is taken."""
        user = self.create_participant(registration)
        return self._new_token(user, label)

    def create_participant(self, registration: Registration) -> User:
        """A new participant, without a token. `Forbidden` when registration is closed."""
        if not self.settings.registration_open:
            hint = "ask the organisers for an account"
            raise Forbidden.of("registration-closed", "registration is closed", hint=hint)
        if registration.name.lower() in RESERVED_NAMES:
            raise Conflict.of("name-taken", f"the name {registration.name!r} is reserved", where="name")
        return self.create_user(
            registration.name, Role.PARTICIPANT, password=registration.password, email=registration.email
        )

    def create_user(self, name: str, role: Role, password: str | None = None, email: str | None = None) -> User:
        """A new account of any role."""
        self.accounts.lock_names()
        if self.accounts.user_by_name(name) is not None:
            raise Conflict.of("name-taken", f"the name {name!r} is taken", where="name", hint="choose another name")
        hashed = hash_password(password) if password is not None else None
        return self.accounts.add(
            User(name=name, name_key=name.lower(), email=email or None, password_hash=hashed, role=role)
        )

    def set_role(self, name: str, role: Role) -> None:
        """Change an account's role."""
        self._named(name).role = role

    def new_token(self, credentials: Credentials) -> TokenOut:
        """A new token for an account's password."""
        return self._new_token(self._check(credentials.name, credentials.password), credentials.label)

    def token_for(self, name: str, label: str) -> TokenOut:
        """A new token without a password: for an administrator at the server's own console."""
        return self._new_token(self._named(name), label)

    def tokens(self, viewer: Viewer) -> list[TokenInfo]:
        """The viewer's tokens."""
        return [
            TokenInfo(
                row.id,
                row.label,
                row.created_at.isoformat(),
                row.last_used_at.isoformat() if row.last_used_at else None,
            )
            for row in self.accounts.tokens_of(viewer.user_id)
        ]

    def revoke_token(self, viewer: Viewer, token_id: str) -> None:
        """Delete one of the viewer's tokens."""
        if not self.accounts.delete_token(viewer.user_id, token_id):
            raise NotFound.of("token-unknown", "there is no such token", where=token_id)

    def sign_in(self, name: str, password: str) -> SignedIn:
        """Open a browser session. `Unauthorised` when name or password is wrong."""
        user = self._check(name, password)
        lifetime = timedelta(days=self.settings.session_days)
        at = now()
        self.accounts.delete_expired_sessions(at)
        cookie, csrf = new_secret(), secrets.token_urlsafe(24)
        self.accounts.add(
            WebSession(user_id=user.id, digest=hash_secret(cookie), csrf=csrf, created_at=at, expires_at=at + lifetime)
        )
        return SignedIn(cookie, Viewer(user.id, user.name, user.role, csrf), int(lifetime.total_seconds()))

    def sign_out(self, cookie: str) -> None:
        """Close a browser session; silent when there is none."""
        self.accounts.delete_web_session(hash_secret(cookie))

    def viewer_of_cookie(self, cookie: str) -> Viewer | None:
        """Whose browser session it is; None when unknown or expired."""
        row = self.accounts.web_session(hash_secret(cookie))
        if row is None or row.expires_at <= now():
            return None
        return Viewer(row.user.id, row.user.name, row.user.role, row.csrf)

    def viewer_of_token(self, token: str) -> Viewer | None:
        """Whose token it is; None when unknown or expired."""
        row = self.accounts.token(hash_secret(token))
        if row is None or (row.expires_at is not None and row.expires_at <= now()):
            return None
        return Viewer(row.user.id, row.user.name, row.user.role)

    def use_is_due(self, token: str) -> bool:
        """Whether it is time to note that a token is in use: once an hour, so that reading need not write."""
        row = self.accounts.token(hash_secret(token))
        return row is not None and (row.last_used_at is None or now() - row.last_used_at > USE_NOTED_EVERY)

    def note_use(self, token: str) -> None:
        """Note that a token is in use now."""
        row = self.accounts.token(hash_secret(token))
        if row is not None:
            row.last_used_at = now()

    def provision(self, name: str, role: Role, secret: str, label: str) -> None:
        """Make sure that an account of that role exists and that `secret` is one of its tokens. Idempotent."""
        self.accounts.lock_names()
        user = self.accounts.user_by_name(name)
        if user is None:
            user = self.accounts.add(User(name=name, name_key=name.lower(), role=role))
        row = self.accounts.token(hash_secret(secret))
        if row is None:
            self.accounts.add(ApiToken(user_id=user.id, digest=hash_secret(secret), label=label))
        elif row.user_id != user.id:
            raise Conflict.of("token-shared", f"the token provisioned for {name} belongs to another account")

    @staticmethod
    def out(viewer: Viewer) -> AccountOut:
        """The account as the API shows it."""
        return AccountOut(name=viewer.name, role=viewer.role.value)

    def _check(self, name: str, password: str) -> User:
        user = self.accounts.user_by_name(name)
        if not password_matches(user.password_hash if user else None, password) or user is None:
            raise Unauthorised.of("credentials-wrong", "name or password is wrong")
        return user

    def _named(self, name: str) -> User:
        user = self.accounts.user_by_name(name)
        if user is None:
            raise NotFound.of("account-unknown", f"there is no account {name!r}")
        return user

    def _new_token(self, user: User, label: str) -> TokenOut:
        secret = new_secret()
        self.accounts.add(ApiToken(user_id=user.id, digest=hash_secret(secret), label=label))
        return TokenOut(token=secret, name=user.name, label=label)
