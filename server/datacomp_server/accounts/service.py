"""Rules of accounts: who is asking, tokens, roles, provisioned accounts. Signing in is in `entry`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from datacomp.messages import AccountOut, Registration, Scope, TokenInfo, TokenOut
from datacomp.problems import BadInput
from datacomp_server.accounts.models import ApiToken, Role, Team, User
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_password, hash_secret, new_secret
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import Conflict, Forbidden, NotFound
from datacomp_server.settings import Settings

USE_NOTED_EVERY = timedelta(hours=1)
RESERVED_NAMES = frozenset({"worker", "organiser", "admin", "system", "datacomp", "published"})
RESERVED_PREFIX = "deleted-"
"""Of the names that deleted accounts get."""
SCOPES: dict[Role, tuple[Scope, ...]] = {
    Role.PARTICIPANT: (Scope.READ, Scope.SUBMIT, Scope.ACCOUNT),
    Role.ORGANISER: (Scope.READ, Scope.SUBMIT, Scope.ACCOUNT, Scope.ORGANISE),
    Role.WORKER: (Scope.READ, Scope.WORK),
}
"""What a token of such an account may be used for."""


@dataclass(frozen=True)
class Viewer:
    """Who is asking. Passed to every service; plain data, so it outlives the database session."""

    user_id: str
    name: str
    role: Role
    csrf: str | None = None
    """Of a browser session: the token that its forms must carry."""
    scopes: frozenset[Scope] = frozenset(Scope)
    """Of a token; a browser session has all."""
    team_id: str | None = None
    team: str | None = None
    """Name of the team that the account is in."""
    token_id: str | None = None
    session_id: str | None = None

    @property
    def organiser(self) -> bool:
        """Whether this account may see and do everything, and came to do so."""
        return self.role is Role.ORGANISER and Scope.ORGANISE in self.scopes

    def require(self, scope: Scope) -> None:
        """`Forbidden` unless the token in use was made for this too. Every scope includes reading."""
        if scope is not Scope.READ and scope not in self.scopes:
            raise Forbidden.of(
                "scope-missing",
                f"this token was not made for this: it lacks the scope {scope.value}",
                where=scope.value,
                hint="make a token with that scope: datacomp account new-token, or on the account's page",
            )


class AccountService:
    """Everything that can be done with accounts that needs no password."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.accounts = AccountRepository(session)
        self.audit = Audit(session, settings)
        self.settings = settings

    # --- accounts

    def check_open(self, name: str) -> None:
        """`Forbidden` when registration is closed, `Conflict` when the name is reserved."""
        if not self.settings.registration_open:
            hint = "ask the organisers for an account"
            raise Forbidden.of("registration-closed", "registration is closed", hint=hint)
        if name.lower() in RESERVED_NAMES or name.lower().startswith(RESERVED_PREFIX):
            raise Conflict.of("name-taken", f"the name {name!r} is reserved", where="name", hint="choose another name")

    def create_participant(self, registration: Registration, hashed: str) -> User:
        """A new participant with a hashed password, without a token."""
        self.check_open(registration.name)
        user = self._add_user(registration.name, Role.PARTICIPANT, hashed, registration.email)
        self.audit.note(Act.REGISTERED, actor=user.id, subject=user.id)
        return user

    def create_user(self, name: str, role: Role, password: str | None = None, email: str | None = None) -> User:
        """A new account of any role, at the server's console."""
        user = self._add_user(name, role, hash_password(password) if password is not None else None, email)
        self.audit.note(Act.ACCOUNT_MADE, actor=None, subject=user.id, role=role.value)
        return user

    def set_role(self, name: str, role: Role, actor: str | None = None) -> None:
        """Change an account's role; `actor` is who does so, None at the server's console. `Conflict` for one's own: the
        last organiser would be gone by mistake."""
        user = self.named(name)
        if actor == user.id:
            hint = "let another organiser do it, or the server's console"
            raise Conflict.of("own-role", "nobody changes their own role", where="role", hint=hint)
        self.audit.note(Act.ROLE_CHANGED, actor=actor, subject=user.id, before=user.role.value, after=role.value)
        user.role = role

    def named(self, name: str) -> User:
        """The account of that name; `NotFound`."""
        user = self.accounts.user_by_name(name)
        if user is None:
            raise NotFound.of("account-unknown", f"there is no account {name!r}", where="name")
        return user

    def _add_user(self, name: str, role: Role, hashed: str | None, email: str | None) -> User:
        self.accounts.lock_names()
        if self.accounts.name_taken(name):
            raise Conflict.of("name-taken", f"the name {name!r} is taken", where="name", hint="choose another name")
        user = User(name=name, name_key=name.lower(), email=email or None, password_hash=hashed, role=role)
        return self.accounts.add(user)

    # --- tokens

    def make_token(
        self, user: User, label: str, *, scopes: Sequence[Scope] | None = None, expires_days: int | None = None
    ) -> TokenOut:
        """A new token; the answer holds the only copy of its secret. `BadInput` for scopes that its role never has."""
        allowed = SCOPES[user.role]
        wanted = allowed if scopes is None else tuple(dict.fromkeys(scopes))
        beyond = [scope.value for scope in wanted if scope not in allowed]
        if beyond:
            raise BadInput.of(
                "scope-not-yours",
                f"a {user.role.value}'s token cannot have the scope {', '.join(beyond)}",
                where="scopes",
                hint=f"choose from: {', '.join(allowed)}",
            )
        secret = new_secret()
        expires = now() + timedelta(days=expires_days) if expires_days else None
        row = ApiToken(user_id=user.id, digest=hash_secret(secret), label=label, expires_at=expires)
        row.scopes = [scope.value for scope in wanted]
        self.accounts.add(row)
        self.audit.note(Act.TOKEN_MADE, actor=user.id, subject=user.id, about=row.id, label=label, scopes=row.scopes)
        return TokenOut(token=secret, name=user.name, label=label, scopes=list(wanted), expires_at=expires)

    def token_of(
        self, viewer: Viewer, label: str, *, scopes: Sequence[Scope] | None = None, expires_days: int | None = None
    ) -> TokenOut:
        """A new token of the viewer, who came by a browser session."""
        return self.make_token(self.user(viewer), label, scopes=scopes, expires_days=expires_days)

    def token_for(self, name: str, label: str, scopes: Sequence[Scope] | None = None) -> TokenOut:
        """A new token without a password: for an administrator at the server's own console."""
        return self.make_token(self.named(name), label, scopes=scopes)

    def tokens(self, viewer: Viewer) -> list[TokenInfo]:
        """The viewer's tokens, newest first."""
        return [token_info(row, viewer) for row in self.accounts.tokens_of(viewer.user_id)]

    def revoke_token(self, viewer: Viewer, token_id: str) -> None:
        """Delete one of the viewer's tokens."""
        if not self.accounts.delete_token(viewer.user_id, token_id):
            raise NotFound.of("token-unknown", "there is no such token", where=token_id)
        self.audit.note(Act.TOKEN_REVOKED, actor=viewer.user_id, subject=viewer.user_id, about=token_id)

    # --- who is asking

    def user(self, viewer: Viewer) -> User:
        """The viewer's account."""
        user = self.accounts.user(viewer.user_id)
        if user is None or user.deleted_at is not None:
            raise NotFound.of("account-unknown", "the account is gone")
        return user

    def viewer_of_cookie(self, cookie: str) -> Viewer | None:
        """Whose browser session it is; None when unknown or expired."""
        row = self.accounts.web_session(hash_secret(cookie))
        if row is None or row.expires_at <= now():
            return None
        return _viewer(row.user, self.accounts.team_of(row.user_id), csrf=row.csrf, session_id=row.id)

    def viewer_of_token(self, token: str) -> Viewer | None:
        """Whose token it is; None when unknown or expired."""
        row = self.accounts.token(hash_secret(token))
        if row is None or (row.expires_at is not None and row.expires_at <= now()):
            return None
        scopes = frozenset(Scope(name) for name in row.scopes)
        return _viewer(row.user, self.accounts.team_of(row.user_id), scopes=scopes, token_id=row.id)

    def use_is_due(self, viewer: Viewer) -> bool:
        """Whether it is time to note that a token or session is used: once an hour, so that reading does not write."""
        last = self.accounts.last_use(token_id=viewer.token_id, session_id=viewer.session_id)
        return last is None or now() - last > USE_NOTED_EVERY

    def note_use(self, viewer: Viewer) -> None:
        """Note that a token or session is in use now."""
        self.accounts.note_use(now(), token_id=viewer.token_id, session_id=viewer.session_id)

    def provision(self, name: str, role: Role, secret: str, label: str) -> None:
        """Make sure that an account of that role exists and that `secret` is one of its tokens. Idempotent."""
        self.accounts.lock_names()
        user = self.accounts.user_by_name(name)
        if user is None:
            user = self.accounts.add(User(name=name, name_key=name.lower(), role=role))
        row = self.accounts.token(hash_secret(secret))
        if row is None:
            scopes = [scope.value for scope in SCOPES[role]]
            row = self.accounts.add(ApiToken(user_id=user.id, digest=hash_secret(secret), label=label, scopes=scopes))
            self.audit.note(Act.TOKEN_MADE, actor=None, subject=user.id, about=row.id, label=label, scopes=scopes)
        elif row.user_id != user.id:
            raise Conflict.of("token-shared", f"the token provisioned for {name} belongs to another account")

    @staticmethod
    def out(viewer: Viewer) -> AccountOut:
        """The account as the API shows it."""
        scopes = [scope for scope in SCOPES[viewer.role] if scope in viewer.scopes]
        return AccountOut(name=viewer.name, role=viewer.role.value, team=viewer.team, scopes=scopes)


def token_info(row: ApiToken, viewer: Viewer) -> TokenInfo:
    """A token as its owner sees it later."""
    return TokenInfo(
        id=row.id,
        label=row.label,
        scopes=[Scope(name) for name in row.scopes],
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        expires_at=row.expires_at,
        expired=_is_past(row.expires_at),
        current=row.id == viewer.token_id,
    )


def _is_past(moment: datetime | None) -> bool:
    return moment is not None and moment <= now()


def _viewer(
    user: User,
    team: Team | None,
    *,
    csrf: str | None = None,
    scopes: frozenset[Scope] = frozenset(Scope),
    token_id: str | None = None,
    session_id: str | None = None,
) -> Viewer:
    return Viewer(
        user.id,
        user.name,
        user.role,
        csrf,
        scopes,
        team.id if team else None,
        team.name if team else None,
        token_id,
        session_id,
    )
