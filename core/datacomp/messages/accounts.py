"""Accounts, tokens, sessions and quotas."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from datacomp.messages.words import Message

AccountName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{1,38}$")]


class Registration(Message):
    name: AccountName
    password: Annotated[str, Field(min_length=8, max_length=200)]
    email: str | None = Field(default=None, max_length=200)


class Scope(StrEnum):
    """What an API token may be used for, within what its account may do. Every scope includes reading."""

    READ = "read"
    """Look at what the account may see, its own logs included."""
    SUBMIT = "submit"
    """Hand in, cancel and withdraw."""
    ACCOUNT = "account"
    """Change the account: teams, tokens, webhooks, export, deletion."""
    ORGANISE = "organise"
    """Act as an organiser, with an organiser's account."""
    WORK = "work"
    """Take up runs, with a worker's account."""


class Credentials(Message):
    name: str = Field(max_length=200)
    password: str = Field(max_length=200)
    label: str = Field(default="cli", min_length=1, max_length=80)
    scopes: list[Scope] | None = Field(default=None, min_length=1)
    """Default: everything that the account may do."""
    expires_days: int | None = Field(default=None, ge=1, le=3650)
    """Default: never."""


class TokenOut(Message):
    """A new API token; the only time its secret is shown."""

    token: str
    name: str
    label: str
    scopes: list[Scope]
    expires_at: datetime | None


class TokenInfo(Message):
    """An API token as its owner sees it later, without its secret."""

    id: str
    label: str
    scopes: list[Scope]
    created_at: datetime
    last_used_at: datetime | None
    """To the hour."""
    expires_at: datetime | None
    expired: bool
    current: bool
    """Whether it is the one in use."""


class SessionInfo(Message):
    """A browser session."""

    id: str
    client: str
    """What the browser called itself."""
    address: str | None
    created_at: datetime
    last_used_at: datetime | None
    expires_at: datetime
    current: bool


class PasswordChange(Message):
    current: str = Field(default="", max_length=200)
    new: Annotated[str, Field(min_length=8, max_length=200)]


class AccountOut(Message):
    name: str
    role: str
    team: str | None = None
    scopes: list[Scope]
    """Of the token in use."""


class QuotaCount(Message):
    used: int
    limit: int | None
    """None: no limit."""

    @property
    def left(self) -> int | None:
        """How many more; None: no limit."""
        return None if self.limit is None else max(self.limit - self.used, 0)


class QuotaOut(Message):
    """What counts against somebody, or against a team, on a board now."""

    board: str
    title: str
    rehearsal: bool
    """Rehearsals have a daily allowance of their own, and no total."""
    day: QuotaCount
    """Since 00:00 UTC."""
    total: QuotaCount
    concurrent: QuotaCount
    """Under way."""


class QuotaState(StrEnum):
    """A reservation is charged or refunded when its submission ends."""

    RESERVED = "reserved"
    CHARGED = "charged"
    REFUNDED = "refunded"


class QuotaNote(Message):
    """What a submission costs."""

    state: QuotaState
    reason: str
    """Why it was charged or refunded."""
    settled_at: datetime | None
    now: QuotaOut | None = None
    """What is used and left, for those to whom the submission belongs."""
