"""Runs of everybody, for organisers: look for them, then take submissions up again or stop them, one or many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from datacomp.messages import RunState, Stage
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import Act
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import DatabaseDep, get_database, get_settings, get_storage
from datacomp_server.errors import Conflict, status_of
from datacomp_server.operation.acts import SubmissionActs, wrong_state
from datacomp_server.operation.lists import ListRepository, RunFilter
from datacomp_server.pages.organise import actor_of
from datacomp_server.pages.organise_contexts import OrganiseConfirmPage, OrganiseRunsPage, RunsAsked
from datacomp_server.pages.signed import OrganiserForm, OrganiserPage, Sent
from datacomp_server.pages.web import answer, go, site_for

router = APIRouter(prefix="/organise/runs", include_in_schema=False)
PAGE = 20
"""Submissions whose runs are on one page."""
MOST = 500
"""Submissions that may be chosen at once: their ids must fit a form."""
LONGEST_REASON = 500
ACTS = {"requeue": Act.SUBMISSION_REQUEUED, "cancel": Act.SUBMISSION_CANCELLED}
Text = Annotated[str, Query(max_length=200)]


@router.get("")
def runs_page(
    request: Request,
    viewer: OrganiserPage,
    board: Text = "",
    state: Text = "",
    stage: Text = "",
    worker: Text = "",
    code: Text = "",
    participant: Text = "",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
    done: Annotated[int, Query(ge=0, le=MOST)] = 0,
) -> Response:
    """The list, filtered by the address."""
    asked = RunsAsked(board, state, stage, worker, code, participant)
    return answer(request, _list(request, viewer, asked, page, done=done))


@router.post("/confirm")
def confirm(request: Request, sent: OrganiserForm, database: DatabaseDep) -> Response:
    """What would be done to each of the chosen submissions. Nothing is done yet."""
    asked = RunsAsked(**{name: sent.text(name)[:200] for name in asdict(RunsAsked())})
    try:
        act = _act(sent)
        ids = sent.texts("id")
        if sent.text("all") == "yes":
            with database.read() as session:
                ids = ListRepository(session).submissions_of(filter_of(asked), MOST + 1)
        page = _confirmation(request, sent.viewer, act, _checked(ids))
    except DatacompError as error:
        listed = _list(request, sent.viewer, asked, 1, problems=list(error.problems))
        return answer(request, listed, status_of(error))
    return answer(request, page)


@router.post("/apply")
def apply(request: Request, sent: OrganiserForm) -> Response:
    """Do it to all of them, with the reason given; what cannot be done any more is told before anything is done."""
    ids: list[str] = []
    try:
        act, ids = _act(sent), _checked(sent.texts("id"))
        reason = _reason(sent)
        _require_possible(request, act, ids)
        _carry_out(request, sent, act, ids, reason)
    except DatacompError as error:
        if not ids:
            return answer(request, _list(request, sent.viewer, RunsAsked(), 1, problems=list(error.problems)), 422)
        page = _confirmation(request, sent.viewer, act, ids, sent.text("reason"), error.problems)
        return answer(request, page, status_of(error))
    return go(f"/organise/runs?done={len(ids)}")


def filter_of(asked: RunsAsked) -> RunFilter:
    """As the list's query takes it; what is no state or stage is as if it were not said."""
    state = RunState(asked.state) if asked.state in set(RunState) else None
    stage = Stage(asked.stage) if asked.stage in set(Stage) else None
    return RunFilter(asked.board, state, stage, asked.worker.strip(), asked.code.strip(), asked.participant.strip())


def _act(sent: Sent) -> str:
    act = sent.text("act")
    if act not in ACTS:
        raise BadInput.of("choice-missing", "choose what shall be done", where="act")
    return act


def _checked(ids: Sequence[str]) -> list[str]:
    found = list(dict.fromkeys(ids))
    if not found:
        raise BadInput.of("nothing-chosen", "no submission is chosen", where="id", hint="tick some in the list")
    if len(found) > MOST:
        hint = "filter the list further, or go on page by page"
        raise BadInput.of("too-many-chosen", f"more than {MOST} submissions are chosen", where="id", hint=hint)
    return found


def _reason(sent: Sent) -> str:
    reason = sent.text("reason")
    if not 1 <= len(reason) <= LONGEST_REASON:
        message = f"give a reason, of at most {LONGEST_REASON} characters"
        raise BadInput.of("reason-missing", message, where="reason", hint="participants read it on their receipt")
    return reason


def _require_possible(request: Request, act: str, ids: Sequence[str]) -> None:
    """`Conflict` with all that the act cannot be done to."""
    with get_database(request).read() as session:
        looked = SubmissionActs(session, get_settings(request), get_storage(request)).look(ACTS[act], ids)
    problems = [
        problem for one in looked if not one.possible for problem in wrong_state(ACTS[act], one.id, one.state).problems
    ]
    if problems:
        raise Conflict(*problems)


def _carry_out(request: Request, sent: Sent, act: str, ids: Sequence[str], reason: str) -> None:
    """One transaction a submission: many at once would keep workers waiting. `Conflict` with those that changed
    meanwhile; the others are done then."""
    problems: list[Problem] = []
    for one in ids:
        try:
            with get_database(request).write() as session:
                acts = SubmissionActs(session, get_settings(request), get_storage(request))
                acts.carry_out(ACTS[act], one, actor_of(sent.viewer), reason)
        except Conflict as error:
            problems += error.problems
    if problems:
        raise Conflict(*problems)


def _confirmation(
    request: Request, viewer: Viewer, act: str, ids: Sequence[str], reason: str = "", problems: Sequence[Problem] = ()
) -> OrganiseConfirmPage:
    with get_database(request).read() as session:
        outlooks = SubmissionActs(session, get_settings(request), get_storage(request)).look(ACTS[act], ids)
    return OrganiseConfirmPage(
        site=site_for(request, viewer), act=act, outlooks=outlooks, reason=reason, problems=list(problems)
    )


def _list(
    request: Request,
    viewer: Viewer,
    asked: RunsAsked,
    page: int,
    *,
    done: int = 0,
    problems: list[Problem] | None = None,
) -> OrganiseRunsPage:
    with get_database(request).read() as session:
        lists, wanted = ListRepository(session), filter_of(asked)
        found = lists.submissions_of(wanted, PAGE + 1, (page - 1) * PAGE)
        lines = lists.runs(found[:PAGE], wanted)
        boards = BoardService(session).list_boards()

    def address(other: int) -> str:
        said = {name: value for name, value in asdict(asked).items() if value}
        return "/organise/runs?" + urlencode({**said, "page": other})

    return OrganiseRunsPage(
        site=site_for(request, viewer),
        asked=asked,
        boards=boards,
        states=[state.value for state in RunState],
        stages=[stage.value for stage in Stage],
        lines=lines,
        most=MOST,
        newer=address(page - 1) if page > 1 else None,
        older=address(page + 1) if len(found) > PAGE else None,
        done=f"Done, for {done} {'submission' if done == 1 else 'submissions'}." if done else "",
        problems=problems or [],
    )
