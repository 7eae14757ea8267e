"""People who come from another provider: found again, connected to an account, or given a new one.

An address of mail never opens an account here, whoever vouches for it: whoever has an account signs in to it first, and
connects the provider from inside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import IdentityInfo
from datacomp_server.accounts.models import Identity, Role, User
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService, SignedIn
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import Conflict, Forbidden, NotFound
from datacomp_server.settings import Settings

UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
LONGEST_NAME = 39


@dataclass(frozen=True)
class Elsewhere:
    """Somebody as a provider vouches for them."""

    provider: str
    subject: str
    """The provider's unchanging id of the person."""
    login: str
    email: str | None
    """Only an address that the provider has verified."""


class IdentityService:
    """Everything about identities elsewhere, in the caller's transaction."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.accounts = AccountRepository(session)
        self.service = AccountService(session, settings)
        self.sessions = SessionService(session, settings)
        self.audit = Audit(session, settings)

    def sign_in(self, who: Elsewhere) -> SignedIn | None:
        """A browser session for somebody who is known here; None for somebody new."""
        known = self.accounts.identity(who.provider, who.subject)
        return self.sessions.open(known.user, who.provider) if known else None

    def connect(self, viewer: Viewer, who: Elsewhere) -> None:
        """Let somebody elsewhere sign in to the viewer's account. `Conflict` when they are somebody else here."""
        known = self.accounts.identity(who.provider, who.subject)
        if known is not None and known.user_id != viewer.user_id:
            message = f"{who.login} at {who.provider} is connected to another account here"
            raise Conflict.of("identity-taken", message, hint="sign in to that account, and disconnect it there")
        if known is None:
            self._add(self.service.user(viewer), who)

    def disconnect(self, viewer: Viewer, identity_id: str) -> None:
        """Undo a connection. `Forbidden` for the only way in."""
        user = self.service.user(viewer)
        if user.password_hash is None and len(self.accounts.identities_of(user.id)) < 2:
            hint = "give the account a password first"
            raise Forbidden.of("only-way-in", "nobody could sign in to the account any more", hint=hint)
        if not self.accounts.delete_identities(user.id, identity_id):
            raise NotFound.of("identity-unknown", "there is no such connection", where=identity_id)
        self.audit.note(Act.IDENTITY_UNLINKED, actor=user.id, subject=user.id, about=identity_id)

    def identities(self, viewer: Viewer) -> list[IdentityInfo]:
        """The viewer's identities elsewhere."""
        return [
            IdentityInfo(id=row.id, provider=row.provider, login=row.login, created_at=row.created_at)
            for row in self.accounts.identities_of(viewer.user_id)
        ]

    def has_account(self, who: Elsewhere) -> bool:
        """Whether an account here gave the same address: then its owner should sign in to it, and connect there.

        `Conflict` when that account proved the address: a second account of the same person is not made.
        """
        known = self.accounts.user_by_email(who.email) if who.email else None
        if known is not None and known.email_confirmed_at is not None:
            raise Conflict.of(
                "email-known",
                "an account here has your e-mail address",
                where="email",
                hint=f"sign in to it with its password, then connect {who.provider} on its settings page",
            )
        return known is not None

    def register(self, who: Elsewhere, name: str) -> SignedIn:
        """A new participant without a password. `Conflict` when the name is taken."""
        self.service.check_open(name)
        self.has_account(who)
        self.accounts.lock_names()
        if self.accounts.name_taken(name):
            raise Conflict.of("name-taken", f"the name {name!r} is taken", where="name", hint="choose another name")
        user = User(name=name, name_key=name.lower(), email=who.email, role=Role.PARTICIPANT)
        user.email_confirmed_at = now() if who.email else None
        self.accounts.add(user)
        self.audit.note(Act.REGISTERED, actor=user.id, subject=user.id, how=who.provider)
        self._add(user, who)
        return self.sessions.open(user, who.provider)

    def _add(self, user: User, who: Elsewhere) -> None:
        row = Identity(user_id=user.id, provider=who.provider, subject=who.subject, login=who.login)
        self.accounts.add(row)
        self.audit.note(Act.IDENTITY_LINKED, actor=user.id, subject=user.id, about=row.id, provider=who.provider)


def fitting_name(login: str) -> str:
    """What somebody's name elsewhere could be here; may be empty."""
    return UNFIT.sub("-", login).strip("-._")[:LONGEST_NAME]
