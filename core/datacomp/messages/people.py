"""Teams, audit log, webhooks and mail, sign-in by others, export and deletion of accounts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from pydantic import Field

from datacomp.messages.accounts import SessionInfo, TokenInfo
from datacomp.messages.submissions import EventOut, SubmissionOut
from datacomp.messages.words import Message

TeamName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_. -]{0,37}[A-Za-z0-9])$")]
"""Letters, digits, dots, dashes, underscores and single words' blanks; stands on boards."""


class TeamCreate(Message):
    name: TeamName


class TeamMemberOut(Message):
    name: str
    owner: bool
    joined_at: datetime


class InviteInfo(Message):
    """An invitation that is open, without its code."""

    id: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    uses_left: int


class TeamOut(Message):
    """A team as its members see it."""

    name: str
    created_at: datetime
    owner: bool
    """Whether the one who asks is its owner."""
    members: list[TeamMemberOut]
    invites: list[InviteInfo]


class InviteCreate(Message):
    expires_days: int = Field(default=7, ge=1, le=90)
    uses: int = Field(default=1, ge=1, le=100)


class InviteOut(Message):
    """A new invitation; the only time its code is shown."""

    code: str
    url: str
    team: str
    expires_at: datetime
    uses_left: int


class InviteCode(Message):
    code: str = Field(min_length=1, max_length=200)


class MemberName(Message):
    name: str = Field(min_length=1, max_length=200)


class AuditOut(Message):
    """One line of the audit log."""

    id: int
    at: datetime
    what: str
    actor: str | None
    """Who did it; null for nobody known, and for the server's own console."""
    subject: str | None
    """The account it was done to."""
    about: str
    """Id of the token, team, submission, ... that it was done to."""
    address: str | None
    request_id: str | None
    details: dict[str, Any]


class WebhookCreate(Message):
    url: str = Field(min_length=1, max_length=2000)


class WebhookInfo(Message):
    """An address that is told when a submission ends."""

    id: str
    url: str
    created_at: datetime


class WebhookOut(WebhookInfo):
    """A new webhook. Its deliveries are signed with `secret` as https://www.standardwebhooks.com describes."""

    secret: str


class NoticeOut(Message):
    """Something that was or will be told about a submission."""

    id: str
    """The same in every try (`webhook-id`), so that a repetition is known."""
    kind: str
    """`webhook` or `mail`."""
    to: str
    """The webhook's address, or the mail's."""
    submission: str
    event: str
    created_at: datetime
    due_at: datetime | None
    """When it is tried next."""
    tries: int
    delivered_at: datetime | None
    given_up_at: datetime | None
    error: str
    """What went wrong the last time."""


class MailSetting(Message):
    email: str | None = Field(default=None, max_length=200)
    """Where to; default: the address the account has. A new one has to be confirmed by a link sent to it."""
    on_final: bool
    """Whether mail is wanted when a submission ends."""


class MailSettingOut(Message):
    available: bool
    """Whether this platform sends mail."""
    email: str | None
    confirmed: bool
    on_final: bool


class IdentityInfo(Message):
    """An account elsewhere that may sign in to this one."""

    id: str
    provider: str
    login: str
    created_at: datetime


class Membership(Message):
    """A time in a team."""

    team: str
    owner: bool
    joined_at: datetime
    left_at: datetime | None


class Keep(StrEnum):
    """What becomes of results when their account is deleted."""

    ANONYMISE = "anonymise"
    """They stay on the boards under a name that says nothing."""
    WITHDRAW = "withdraw"
    """They are taken off the boards."""


class Deletion(Message):
    submissions: Keep
    password: str = Field(default="", max_length=200)
    """For accounts that have one."""
    name: str = Field(default="", max_length=200)
    """The account's own name, typed once more."""


class ExportedSubmission(Message):
    receipt: SubmissionOut
    events: list[EventOut]


class AccountExport(Message):
    """Everything that is stored about an account, but for secrets and files."""

    exported_at: datetime
    name: str
    role: str
    email: str | None
    email_confirmed_at: datetime | None
    mail_on_final: bool
    created_at: datetime
    has_password: bool
    identities: list[IdentityInfo]
    teams: list[Membership]
    tokens: list[TokenInfo]
    sessions: list[SessionInfo]
    webhooks: list[WebhookInfo]
    notices: list[NoticeOut]
    submissions: list[ExportedSubmission]
    audit: list[AuditOut]
