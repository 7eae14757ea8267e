"""The pages about people in every state: settings, team, invitations, names, the audit log."""

from datetime import timedelta
from typing import Any

from page_examples import HOSTILE, NOW, PROBLEMS, site

from datacomp.messages import (
    AuditOut,
    IdentityInfo,
    InviteInfo,
    InviteOut,
    MailSettingOut,
    NoticeOut,
    QuotaCount,
    QuotaOut,
    SessionInfo,
    TeamMemberOut,
    TeamOut,
    WebhookInfo,
    WebhookOut,
)
from datacomp_server.accounts.providers import Provider
from datacomp_server.pages.contexts import Page
from datacomp_server.pages.people_contexts import (
    AuditAsked,
    AuditPage,
    ConfirmPage,
    ForgottenPage,
    JoinPage,
    NamePage,
    ResetPage,
    SettingsPage,
    TeamPage,
)

ASKED = AuditAsked(account=HOSTILE, actor=HOSTILE, board=HOSTILE, since=HOSTILE, until="2026-11-24")
PROVIDERS = [Provider("github", "GitHub"), Provider("oidc", HOSTILE)]
QUOTAS = [
    QuotaOut(
        board="filtering-tiny", title="Filtering, tiny", rehearsal=rehearsal, day=QuotaCount(used=2, limit=20),
        total=QuotaCount(used=7, limit=None if rehearsal else 50), concurrent=QuotaCount(used=1, limit=None),
    )
    for rehearsal in (False, True)
]  # fmt: skip


def notice(number: int, **changes: Any) -> NoticeOut:
    values: dict[str, Any] = {
        "id": f"n{number}", "kind": "webhook", "to": "https://example.org/?x=1&y=2", "submission": "a1b2c3d4e5f60718",
        "event": "submission.scored", "created_at": NOW, "due_at": None, "tries": 1, "delivered_at": None,
        "given_up_at": None, "error": "",
    }  # fmt: skip
    return NoticeOut(**(values | changes))


def line(number: int, what: str, **changes: Any) -> AuditOut:
    values: dict[str, Any] = {
        "id": number, "at": NOW, "what": what, "actor": "ada", "subject": "ada", "about": "", "address": "192.0.2.1",
        "request_id": "0123456789abcdef", "details": {},
    }  # fmt: skip
    return AuditOut(**(values | changes))


def audit_lines() -> list[AuditOut]:
    return [
        line(4, "token-made", about="t1", details={"label": HOSTILE, "scopes": ["read", "submit"]}),
        line(3, "sign-in-failed", actor=None, address=None, request_id=None),
        line(2, "role-changed", actor=None, details={"before": "participant", "after": "organiser"}),
        line(1, "team-invited", details={"uses": 3}),
    ]


def settings_page(**changes: Any) -> SettingsPage:
    values: dict[str, Any] = {
        "site": site("/account/settings"), "has_password": True,
        "sessions": [
            SessionInfo(id="s1", client="Firefox 140 on Linux", address="192.0.2.1", created_at=NOW, last_used_at=NOW,
                        expires_at=NOW + timedelta(days=30), current=True),
            SessionInfo(id="s2", client=HOSTILE, address=None, created_at=NOW, last_used_at=None,
                        expires_at=NOW + timedelta(days=30), current=False),
        ],
        "providers": PROVIDERS, "identities": [],
        "mail": MailSettingOut(available=True, email="ada@example.org", confirmed=False, on_final=True),
        "webhooks_available": True, "webhooks": [WebhookInfo(id="w1", url="https://example.org/hook", created_at=NOW)],
        "notices": [
            notice(1, delivered_at=NOW), notice(2, given_up_at=NOW, tries=8, error="the answer was 500"),
            notice(3, due_at=NOW, error=HOSTILE), notice(4, due_at=NOW, tries=0, kind="mail", to="ada@example.org"),
        ],
        "activity": audit_lines(),
    }  # fmt: skip
    return SettingsPage(**(values | changes))


def team(*, owner: bool) -> TeamOut:
    members = [TeamMemberOut(name="ada", owner=owner, joined_at=NOW)]
    members.append(TeamMemberOut(name="grace", owner=not owner, joined_at=NOW))
    invites = [InviteInfo(id="i1", created_by="ada", created_at=NOW, expires_at=NOW + timedelta(days=7), uses_left=2)]
    return TeamOut(name="The Sieves", created_at=NOW, owner=owner, members=members, invites=invites if owner else [])


def people_pages() -> dict[str, Page]:
    """All of them."""
    place, nothing = site("/team"), MailSettingOut(available=False, email=None, confirmed=False, on_final=False)
    invite = InviteOut(code="dc_code", url="http://x/team/join?code=dc_code", team="T", expires_at=NOW, uses_left=1)
    webhook = WebhookOut(id="w2", url="https://example.org/2", created_at=NOW, secret="whsec_c2VjcmV0")
    alone = team(owner=True).model_copy(update={"members": team(owner=True).members[:1], "invites": []})
    bare = {"sessions": [], "providers": [], "webhooks": [], "notices": [], "activity": []}
    audit: dict[str, Any] = {
        "site": site("/audit", role="organiser"),
        "acts": ["signed-in", "token-made"],
        "boards": ["filtering-tiny"],
    }
    return {
        "settings": settings_page(),
        "settings-done": settings_page(done="The password is changed.", new_webhook=webhook),
        "settings-elsewhere": settings_page(
            has_password=False, identities=[IdentityInfo(id="e1", provider="github", login=HOSTILE, created_at=NOW)]
        ),
        "settings-bare": settings_page(webhooks_available=False, mail=nothing, problems=PROBLEMS, **bare),
        "team-none": TeamPage(site=place, team=None, problems=PROBLEMS),
        "team-owner": TeamPage(site=place, team=team(owner=True), new_invite=invite),
        "team-member": TeamPage(site=place, team=team(owner=False)),
        "team-alone": TeamPage(site=place, team=alone),
        "join": JoinPage(site=place, team="The Sieves", code=HOSTILE, present=None),
        "join-not-now": JoinPage(site=place, team="The Sieves", code="dc_code", present="Another"),
        "confirm": ConfirmPage(site=site("/account/confirm"), code=HOSTILE),
        "forgotten": ForgottenPage(site=site("/account/forgotten"), available=True, email=HOSTILE),
        "forgotten-told": ForgottenPage(site=site("/account/forgotten"), available=True, email=HOSTILE, done=True),
        "forgotten-no-mail": ForgottenPage(site=site("/account/forgotten"), available=False),
        "reset": ResetPage(site=site("/account/reset"), code=HOSTILE, name=HOSTILE),
        "reset-ended": ResetPage(site=site("/account/reset"), code=HOSTILE, name=None),
        "reset-done": ResetPage(site=site("/account/reset"), code="", name=HOSTILE, done=True),
        "confirmed": ConfirmPage(site=site("/account/confirm"), code="", done=True),
        "name": NamePage(
            site=site("/account/with/new", name=None), provider="GitHub", login=HOSTILE, name="ada", has_account=False
        ),
        "name-known": NamePage(
            site=site("/account/with/new", name=None), provider="GitHub", login="ada", name="", has_account=True,
            problems=PROBLEMS,
        ),
        "audit": AuditPage(
            **audit, lines=audit_lines(), asked=AuditAsked("token-made", "ada"), older="/audit?before=1"
        ),
        "audit-empty": AuditPage(**audit, lines=[], asked=ASKED, older=None, problems=PROBLEMS),
    }  # fmt: skip
