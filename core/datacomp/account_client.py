"""The typed client of accounts and teams: all that `datacomp account` and `datacomp team` do, a script can do."""

from __future__ import annotations

from typing import TypeVar

from datacomp.client import Login
from datacomp.http import ServerLink
from datacomp.messages import (
    AccountExport,
    AccountOut,
    AuditOut,
    Credentials,
    Deletion,
    InviteCode,
    InviteCreate,
    InviteOut,
    Keep,
    MailSetting,
    MailSettingOut,
    MemberName,
    Message,
    NoticeOut,
    PasswordChange,
    QuotaOut,
    Scope,
    SessionInfo,
    TeamCreate,
    TeamOut,
    TokenInfo,
    TokenOut,
    WebhookCreate,
    WebhookInfo,
    WebhookOut,
)

Line = TypeVar("Line", bound=Message)


class AccountClient:
    """One's own account at a server, by an API token."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._link = ServerLink(url, token)

    @classmethod
    def from_login(cls) -> AccountClient:
        """The account of the remembered login."""
        login = Login.load()
        return cls(login.url, login.token)

    def _list(self, path: str, line: type[Line], **params: str | int) -> list[Line]:
        reply = self._link.request("GET", path, params=params)
        return [line.model_validate(item) for item in reply.json()]

    # --- account

    def whoami(self) -> AccountOut:
        """The account, its team, and what the token may be used for."""
        return self._link.get("/api/accounts/me", AccountOut)

    def quota(self) -> list[QuotaOut]:
        """What is used and allowed, by board."""
        return self._list("/api/accounts/me/quota", QuotaOut)

    def change_password(self, current: str, new: str) -> None:
        """Another password."""
        self._link.send("/api/accounts/me/password", PasswordChange(current=current, new=new), retry=False)

    def export(self) -> AccountExport:
        """Everything that is stored about the account, but for secrets and files."""
        return self._link.get("/api/accounts/me/export", AccountExport)

    def delete(self, name: str, password: str, submissions: Keep) -> None:
        """Delete the account, for good."""
        wish = Deletion(submissions=submissions, password=password, name=name)
        self._link.send("/api/accounts/me/delete", wish, retry=False)

    # --- tokens and sessions

    def tokens(self) -> list[TokenInfo]:
        """API tokens, newest first."""
        return self._list("/api/tokens", TokenInfo)

    def new_token(
        self,
        name: str,
        password: str,
        label: str,
        *,
        scopes: list[Scope] | None = None,
        expires_days: int | None = None,
    ) -> TokenOut:
        """A new token for name and password: the answer is the only time that it is shown."""
        wish = Credentials(name=name, password=password, label=label, scopes=scopes, expires_days=expires_days)
        return self._link.post("/api/tokens", wish, TokenOut)

    def revoke_token(self, token: str) -> None:
        """Revoke a token by its id; `current` is the one in use."""
        self._link.request("DELETE", f"/api/tokens/{token}", retry=False)

    def sessions(self) -> list[SessionInfo]:
        """Browsers that are signed in."""
        return self._list("/api/accounts/me/sessions", SessionInfo)

    def sign_out_everywhere(self, *, tokens: bool = False) -> None:
        """Close all browser sessions; with `tokens` delete all API tokens too."""
        params = {"tokens": str(tokens).lower()}
        self._link.request("DELETE", "/api/accounts/me/sessions", retry=False, params=params)

    # --- notices

    def mail(self) -> MailSettingOut:
        """Whether and where mail is sent."""
        return self._link.get("/api/accounts/me/mail", MailSettingOut)

    def set_mail(self, wish: MailSetting) -> MailSettingOut:
        """Have mail when a submission ends, or not."""
        reply = self._link.request("PUT", "/api/accounts/me/mail", json=wish.model_dump(mode="json"))
        return MailSettingOut.model_validate_json(reply.content)

    def webhooks(self) -> list[WebhookInfo]:
        """Addresses that are told when a submission ends."""
        return self._list("/api/webhooks", WebhookInfo)

    def add_webhook(self, url: str) -> WebhookOut:
        """Another one; its secret is shown this once."""
        return self._link.post("/api/webhooks", WebhookCreate(url=url), WebhookOut)

    def delete_webhook(self, webhook: str) -> None:
        """Delete one by its id."""
        self._link.request("DELETE", f"/api/webhooks/{webhook}", retry=False)

    def notices(self, limit: int = 100) -> list[NoticeOut]:
        """What was and will be told, newest first."""
        return self._list("/api/notices", NoticeOut, limit=limit)

    # --- team

    def team(self) -> TeamOut:
        """The team; `Refused` (404) when in none."""
        return self._link.get("/api/team", TeamOut)

    def create_team(self, name: str) -> TeamOut:
        """Make a team."""
        return self._link.post("/api/team", TeamCreate(name=name), TeamOut)

    def invite(self, *, expires_days: int = 7, uses: int = 1) -> InviteOut:
        """A code that lets people join, shown this once."""
        return self._link.post("/api/team/invites", InviteCreate(expires_days=expires_days, uses=uses), InviteOut)

    def revoke_invite(self, invite: str) -> None:
        """Make an invitation useless."""
        self._link.request("DELETE", f"/api/team/invites/{invite}", retry=False)

    def join_team(self, code: str) -> TeamOut:
        """Join the team that a code leads to."""
        return self._link.post("/api/team/join", InviteCode(code=code), TeamOut)

    def leave_team(self) -> None:
        """Leave the team."""
        self._link.send("/api/team/leave", None, retry=False)

    def remove_member(self, name: str) -> TeamOut:
        """Remove a member."""
        return self._link.post("/api/team/remove", MemberName(name=name), TeamOut)

    def transfer_team(self, name: str) -> TeamOut:
        """Make another member the owner."""
        return self._link.post("/api/team/transfer", MemberName(name=name), TeamOut)

    # --- organisers

    def audit(
        self, *, what: str | None = None, account: str | None = None, before: int | None = None, limit: int = 100
    ) -> list[AuditOut]:
        """Lines of the audit log, newest first."""
        asked: dict[str, str | int | None] = {"what": what, "account": account, "before": before, "limit": limit}
        return self._list("/api/audit", AuditOut, **{key: value for key, value in asked.items() if value is not None})
