"""A board scored again, for organisers: first what would change, then exactly that.

A large board takes longer than a request may: it is scored in parts of some seconds, and the page between them tells
how far it is and asks for the next by itself, without scripts.
"""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.problems import BadInput, DatacompError, PlatformFault, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.service import BoardService
from datacomp_server.boards.suites import known_suite
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings, get_storage
from datacomp_server.errors import Conflict, status_of
from datacomp_server.leaderboard.rescored import Part, Unfinished
from datacomp_server.leaderboard.rescoring import Plan, apply_rescoring, plan_rescoring
from datacomp_server.pages.organise import actor_of
from datacomp_server.pages.organise_contexts import OrganiseRescorePage
from datacomp_server.pages.signed import OrganiserForm, OrganiserPage
from datacomp_server.pages.web import answer, go, site_for

router = APIRouter(prefix="/organise/boards", include_in_schema=False)
MOST_SHOWN = 500
PART_SECONDS = 5.0
"""What one request may take for scoring; one more training is begun at most."""
SuiteDigest = Annotated[str, Query(max_length=64)]


@router.get("/{name}/rescore")
def preview(name: str, request: Request, viewer: OrganiserPage, suite: SuiteDigest = "") -> Response:
    """Score everything and show what would change. Nothing is written."""
    try:
        plan = _plan(request, name, suite)
    except Unfinished as part:
        return _answer(request, viewer, name, suite, None, part=part)
    except (BadInput, PlatformFault) as error:
        return _answer(request, viewer, name, suite, None, error)
    return _answer(request, viewer, name, suite, plan)


@router.post("/{name}/rescore")
def apply(name: str, request: Request, sent: OrganiserForm, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Write what was shown. When anything is otherwise by now, nothing is written and it is shown anew."""
    suite = sent.text("suite")
    try:
        plan = _plan(request, name, suite)
    except Unfinished:  # another server made the preview, or this one was started anew
        return go(f"/organise/boards/{name}/rescore?{urlencode({'suite': suite})}")
    except (BadInput, PlatformFault) as error:
        return _answer(request, sent.viewer, name, suite, None, error)
    if plan.digest != sent.text("preview"):
        hint = "look at the differences below, then apply them"
        stale = Conflict.of("preview-stale", "the differences are not those that were shown", hint=hint)
        return _answer(request, sent.viewer, name, suite, plan, stale)
    try:
        apply_rescoring(database, settings, plan, actor=actor_of(sent.viewer), report=lambda *_: None)
    except Conflict as error:
        return _answer(request, sent.viewer, name, suite, _plan(request, name, suite), error)
    return go(f"/organise/boards/{name}?done=rescored")


def _plan(request: Request, name: str, suite: str) -> Plan:
    """What would change. `Unfinished` when there is more to score than fits a request."""
    database, settings = get_database(request), get_settings(request)
    with database.read() as session:
        wanted = known_suite(session, settings, suite) if suite else None
        seeds = BoardService(session).board(name).seeds
    part = Part(request.app.state.rescored, PART_SECONDS, seeds)
    return plan_rescoring(database, get_storage(request), name, wanted, part.report, part.score)


def _answer(
    request: Request,
    viewer: Viewer,
    name: str,
    suite: str,
    plan: Plan | None,
    error: DatacompError | None = None,
    part: Unfinished | None = None,
) -> Response:
    problems: list[Problem] = list(error.problems) if error else []
    with get_database(request).read() as session:
        board = BoardService(session).board(name)
    page = OrganiseRescorePage(
        site=site_for(request, viewer),
        board=board,
        plan=plan,
        shown=MOST_SHOWN,
        suite=suite,
        done=part.done if part else 0,
        total=part.total if part else 0,
        problems=problems,
    )
    response = answer(request, page, status_of(error) if error else 200)
    if part is not None:
        response.headers["Refresh"] = "1"
    return response
