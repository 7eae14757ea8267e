"""What the templates about people are given, beside those of `contexts`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from datacomp.messages import (
    AuditOut,
    IdentityInfo,
    InviteOut,
    MailSettingOut,
    NoticeOut,
    SessionInfo,
    TeamOut,
    WebhookInfo,
    WebhookOut,
)
from datacomp.problems import Problem
from datacomp_server.accounts.providers import Provider
from datacomp_server.pages.contexts import Page


@dataclass(frozen=True, kw_only=True)
class SettingsPage(Page):
    """`settings.html`: password, sessions, sign-in elsewhere, mail, webhooks, export, deletion."""

    template: ClassVar[str] = "settings.html"
    has_password: bool
    sessions: list[SessionInfo]
    providers: list[Provider]
    """Those that may be connected."""
    identities: list[IdentityInfo]
    mail: MailSettingOut
    webhooks_available: bool
    webhooks: list[WebhookInfo]
    notices: list[NoticeOut]
    activity: list[AuditOut]
    """The latest lines of the audit log that concern the account."""
    done: str = ""
    """What was just done, as a sentence."""
    new_webhook: WebhookOut | None = None
    """There once, right after it was made."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class TeamPage(Page):
    """`team.html`: the team with its members and invitations, or the ways to get into one."""

    template: ClassVar[str] = "team.html"
    team: TeamOut | None
    new_invite: InviteOut | None = None
    """There once, right after it was made."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class JoinPage(Page):
    """`join.html`: asks whether to join the team that an invitation leads to."""

    template: ClassVar[str] = "join.html"
    team: str
    code: str
    present: str | None
    """The team that the visitor is in already."""


@dataclass(frozen=True, kw_only=True)
class ConfirmPage(Page):
    """`confirm.html`: asks to confirm an address. A click, because mail scanners follow links."""

    template: ClassVar[str] = "confirm.html"
    code: str
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class ForgottenPage(Page):
    """`forgotten.html`: asks for a link to choose a new password by."""

    template: ClassVar[str] = "forgotten.html"
    available: bool
    """Whether mail is sent."""
    email: str = ""
    done: bool = False
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class ResetPage(Page):
    """`reset.html`: a new password, by a link."""

    template: ClassVar[str] = "reset.html"
    code: str
    name: str | None
    """Of the account; None for a link that ended."""
    done: bool = False
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class NamePage(Page):
    """`name.html`: somebody who came from another provider chooses a name."""

    template: ClassVar[str] = "name.html"
    provider: str
    login: str
    name: str
    has_account: bool
    """Whether an account here gave the same address of mail."""
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True)
class AuditAsked:
    """What the audit log is filtered by, as the address says it; empty: all."""

    what: str = ""
    account: str = ""
    """Whom it concerns: who did it, or whom it was done to."""
    actor: str = ""
    board: str = ""
    since: str = ""
    until: str = ""
    """Days, the last one included."""


@dataclass(frozen=True, kw_only=True)
class AuditPage(Page):
    """`audit.html`: the audit log, for organisers."""

    template: ClassVar[str] = "audit.html"
    lines: list[AuditOut]
    acts: list[str]
    """All that may be chosen."""
    boards: list[str]
    asked: AuditAsked
    older: str | None
    """Address of the next page."""
    problems: list[Problem] = field(default_factory=list)
