"""`/api/accounts` and `/api/tokens`."""

from __future__ import annotations

from fastapi import APIRouter

from datacomp.messages import (
    AccountExport,
    AccountOut,
    Credentials,
    Deletion,
    PasswordChange,
    QuotaOut,
    Registration,
    SessionInfo,
    TokenInfo,
    TokenOut,
)
from datacomp_server.accounts.export import Exporter
from datacomp_server.accounts.service import AccountService
from datacomp_server.dependencies import (
    AccountDep,
    AccountServiceDep,
    DatabaseDep,
    EntryDep,
    LeavingDep,
    SessionServiceDep,
    SettingsDep,
    StorageDep,
    SubmissionServiceDep,
    ViewerDep,
)
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api", tags=["accounts"])


@router.post("/accounts", status_code=201, responses=refusals(403, 409))
def register(registration: Registration, entry: EntryDep) -> TokenOut:
    """Make an account. The answer is the only time its first token is shown."""
    return entry.register(registration)


@router.get("/accounts/me", responses=refusals(401))
def whoami(viewer: ViewerDep) -> AccountOut:
    """The account of the token, its team, and what the token may be used for."""
    return AccountService.out(viewer)


@router.post("/accounts/me/password", status_code=204, responses=refusals(401, 403, 409))
def change_password(change: PasswordChange, viewer: AccountDep, entry: EntryDep) -> None:
    """Another password; every browser session but the one in use ends."""
    entry.change_password(viewer, change.current, change.new)


@router.get("/accounts/me/quota", responses=refusals(401, 403))
def own_quota(viewer: ViewerDep, submissions: SubmissionServiceDep) -> list[QuotaOut]:
    """What counts against you, or your team, on every board that takes submissions, and what is allowed."""
    return submissions.standings(viewer)


@router.get("/accounts/me/sessions", responses=refusals(401, 403))
def list_sessions(viewer: AccountDep, sessions: SessionServiceDep) -> list[SessionInfo]:
    """The browsers that are signed in."""
    return sessions.list_open(viewer)


@router.delete("/accounts/me/sessions/{session}", status_code=204, responses=refusals(401, 403, 404))
def close_session(session: str, viewer: AccountDep, sessions: SessionServiceDep) -> None:
    """Sign one browser out."""
    sessions.close(viewer, session)


@router.delete("/accounts/me/sessions", status_code=204, responses=refusals(401, 403))
def close_sessions(viewer: AccountDep, sessions: SessionServiceDep, tokens: bool = False) -> None:
    """Sign out everywhere; with `tokens` all API tokens are deleted too, the one in use included."""
    sessions.close_all(viewer, tokens=tokens)


@router.get("/accounts/me/export", responses=refusals(401, 403))
def export(viewer: AccountDep, database: DatabaseDep, settings: SettingsDep, storage: StorageDep) -> AccountExport:
    """Everything that is stored about you, but for secrets and files."""
    return Exporter(database, settings, storage).export(viewer)


@router.post("/accounts/me/delete", status_code=204, responses=refusals(401, 403, 409))
def delete_account(deletion: Deletion, viewer: AccountDep, entry: EntryDep, leaving: LeavingDep) -> None:
    """Delete the account, for good. What stays of its submissions is your choice."""
    entry.confirm(viewer, deletion)
    leaving.delete(viewer, deletion.submissions)


@router.post("/tokens", status_code=201, responses=refusals(401))
def new_token(credentials: Credentials, entry: EntryDep) -> TokenOut:
    """A new API token for a name and password. The answer is the only time it is shown."""
    return entry.new_token(credentials)


@router.get("/tokens", responses=refusals(401, 403))
def list_tokens(viewer: AccountDep, accounts: AccountServiceDep) -> list[TokenInfo]:
    """Your API tokens, newest first."""
    return accounts.tokens(viewer)


@router.delete("/tokens/{token}", status_code=204, responses=refusals(401, 403, 404))
def revoke_token(token: str, viewer: AccountDep, accounts: AccountServiceDep) -> None:
    """Revoke an API token by its id; `current` means the one in use."""
    accounts.revoke_token(viewer, viewer.token_id or "" if token == "current" else token)  # noqa: S105 - a word
