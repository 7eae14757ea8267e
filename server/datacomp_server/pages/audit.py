"""The audit log as a page, for organisers."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.problems import Problem
from datacomp_server.accounts.service import AccountService
from datacomp_server.audit.service import Act, Audit
from datacomp_server.dependencies import DatabaseDep, SettingsDep, require_organiser
from datacomp_server.errors import NotFound
from datacomp_server.pages.people_contexts import AuditPage
from datacomp_server.pages.web import PageViewer, answer, go, site_for

router = APIRouter(include_in_schema=False)
PAGE = 100


@router.get("/audit")
def audit_page(
    request: Request,
    viewer: PageViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    what: Annotated[str, Query(max_length=40)] = "",
    account: Annotated[str, Query(max_length=200)] = "",
    before: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
) -> Response:
    """Who did what that matters for security, newest first."""
    if viewer is None:
        return go("/account/sign-in?next=/audit")
    require_organiser(viewer)
    chosen = what if what in set(Act) else None
    with database.read() as session:
        lines, problems = [], list[Problem]()
        try:
            concerned = AccountService(session, settings).named(account).id if account else None
            lines = Audit(session, settings).read(what=chosen, account=concerned, before=before, limit=PAGE)
        except NotFound as error:
            problems = list(error.problems)
    older = None
    if len(lines) == PAGE:
        older = "/audit?" + urlencode({"what": chosen or "", "account": account, "before": lines[-1].id})
    page = AuditPage(
        site=site_for(request, viewer),
        lines=lines,
        acts=[act.value for act in Act],
        what=chosen or "",
        account=account,
        older=older,
        problems=problems,
    )
    return answer(request, page, 404 if problems else 200)
