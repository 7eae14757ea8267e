"""`/api/accounts` and `/api/tokens`."""

from __future__ import annotations

from fastapi import APIRouter

from datacomp.messages import AccountOut, Credentials, Registration, TokenOut
from datacomp_server.accounts.service import AccountService
from datacomp_server.dependencies import AccountServiceDep, ViewerDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api", tags=["accounts"])


@router.post("/accounts", status_code=201, responses=refusals(403, 409))
def register(registration: Registration, accounts: AccountServiceDep) -> TokenOut:
    """Make an account. The answer is the only time its first token is shown."""
    return accounts.register(registration)


@router.post("/tokens", status_code=201, responses=refusals(401))
def new_token(credentials: Credentials, accounts: AccountServiceDep) -> TokenOut:
    """A new API token for a name and password. The answer is the only time it is shown."""
    return accounts.new_token(credentials)


@router.get("/accounts/me", responses=refusals(401))
def whoami(viewer: ViewerDep) -> AccountOut:
    """The account of the token."""
    return AccountService.out(viewer)
