"""`/api/audit`, for organisers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datacomp.messages import AuditOut
from datacomp_server.audit.service import Act
from datacomp_server.dependencies import AccountServiceDep, AuditDep, OrganiserDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api/audit", tags=["audit"])


@router.get("", responses=refusals(401, 403, 404))
def audit_log(
    viewer: OrganiserDep,
    audit: AuditDep,
    accounts: AccountServiceDep,
    what: Act | None = None,
    account: Annotated[str | None, Query(max_length=200)] = None,
    before: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> list[AuditOut]:
    """Who did what that matters for security, newest first; `before` is the last id of the page before."""
    concerned = accounts.named(account).id if account else None
    return audit.read(what=what, account=concerned, before=before, limit=limit)
