"""The audit log as a page, for organisers."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from sqlalchemy.orm import Session
from starlette.responses import Response

from datacomp.messages import AuditOut
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.service import AccountService
from datacomp_server.audit.repository import Within
from datacomp_server.audit.service import Act, Audit
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import DatabaseDep, SettingsDep
from datacomp_server.errors import status_of
from datacomp_server.pages.people_contexts import AuditAsked, AuditPage
from datacomp_server.pages.signed import OrganiserPage
from datacomp_server.pages.web import answer, site_for
from datacomp_server.settings import Settings

router = APIRouter(include_in_schema=False)
PAGE = 100
Text = Annotated[str, Query(max_length=200)]


@router.get("/audit")
def audit_page(
    request: Request,
    viewer: OrganiserPage,
    database: DatabaseDep,
    settings: SettingsDep,
    what: Text = "",
    account: Text = "",
    actor: Text = "",
    board: Text = "",
    since: Text = "",
    until: Text = "",
    before: Annotated[int | None, Query(ge=0, lt=2**62)] = None,
) -> Response:
    """Who did what that matters for security, newest first."""
    asked = AuditAsked(what if what in set(Act) else "", account, actor, board, since, until)
    lines, status, problems = list[AuditOut](), 200, list[Problem]()
    with database.read() as session:
        try:
            lines = _lines(session, settings, asked, before)
        except DatacompError as error:
            status, problems = status_of(error), list(error.problems)
        boards = [one.name for one in BoardService(session).list_boards()]
    older = None
    if len(lines) == PAGE:
        said = {name: value for name, value in asdict(asked).items() if value}
        older = "/audit?" + urlencode({**said, "before": lines[-1].id})
    page = AuditPage(
        site=site_for(request, viewer),
        lines=lines,
        acts=[act.value for act in Act],
        boards=boards,
        asked=asked,
        older=older,
        problems=problems,
    )
    return answer(request, page, status)


def _lines(session: Session, settings: Settings, asked: AuditAsked, before: int | None) -> list[AuditOut]:
    """`NotFound` for an unknown account, `BadInput` for what is no day."""
    accounts = AccountService(session, settings)
    within = Within(
        actor=accounts.named(asked.actor).id if asked.actor else None,
        board=asked.board or None,
        since=_midnight(asked.since, "since"),
        until=_midnight(asked.until, "until", after=True),
    )
    concerned = accounts.named(asked.account).id if asked.account else None
    return Audit(session, settings).read(
        what=asked.what or None, account=concerned, before=before, limit=PAGE, within=within
    )


def _midnight(text: str, where: str, *, after: bool = False) -> datetime | None:
    """The beginning of a UTC day, or its end."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
        return datetime.combine(day + timedelta(days=1) if after else day, time(), UTC)
    except (ValueError, OverflowError) as error:
        hint = "write it as 2026-11-24"
        raise BadInput.of("day-invalid", f"{text!r} is no day", where=where, hint=hint) from error
