"""The page of one's team, and where invitations lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from datacomp.messages import InviteCreate, InviteOut, TeamCreate
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings
from datacomp_server.errors import status_of
from datacomp_server.pages.people_contexts import JoinPage, TeamPage
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, site_for, text_of
from datacomp_server.teams.service import TeamService

router = APIRouter(prefix="/team", include_in_schema=False)
SIGN_IN = "/account/sign-in?next=/team"


@router.get("")
def team_page(request: Request, viewer: PageViewer) -> Response:
    """The team, or how to get into one."""
    return go(SIGN_IN) if viewer is None else answer(request, _page(request, viewer))


@router.post("/create")
def create(request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Make a team."""

    def act(teams: TeamService, viewer: Viewer) -> None:
        try:
            wish = TeamCreate(name=text_of(form, "name"))
        except ValidationError as error:
            hint = "use 2 to 39 letters, digits, blanks, dots, dashes, underscores; a letter or digit at both ends"
            raise BadInput.of("name-invalid", "the name does not fit", where="name", hint=hint) from error
        teams.create(viewer, wish.name)

    return _change(request, viewer, form, act)


@router.post("/invites")
def invite(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """A new invitation, its code shown in this one answer."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    try:
        wish = InviteCreate.model_validate({"expires_days": text_of(form, "days"), "uses": text_of(form, "uses")})
        with database.write() as session:
            made = TeamService(session, settings).invite(viewer, wish)
    except ValidationError:
        problem = Problem(
            code="invite-invalid", message="give 1 to 90 days, and 1 to 100 people", where="days", hint="correct it"
        )
        return answer(request, _page(request, viewer, problems=[problem]), 422)
    except DatacompError as error:
        return answer(request, _page(request, viewer, problems=list(error.problems)), status_of(error))
    return answer(request, _page(request, viewer, new_invite=made))


@router.post("/invites/{invite_id}/revoke")
def revoke_invite(invite_id: str, request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Make an invitation useless."""
    return _change(request, viewer, form, lambda teams, viewer: teams.revoke_invite(viewer, invite_id))


@router.get("/join")
def join_page(request: Request, viewer: PageViewer, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Where an invitation leads: asks for a click."""
    if viewer is None:
        return go(f"/account/sign-in?next={quote(f'/team/join?code={quote(code)}')}")
    with get_database(request).read() as session:
        team = TeamService(session, get_settings(request)).invited_to(code)
    return answer(request, JoinPage(site=site_for(request, viewer), team=team, code=code, present=viewer.team))


@router.post("/join")
def join(request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Join."""
    return _change(request, viewer, form, lambda teams, viewer: teams.join(viewer, text_of(form, "code")))


@router.post("/leave")
def leave(request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Leave."""
    return _change(request, viewer, form, lambda teams, viewer: teams.leave(viewer))


@router.post("/remove")
def remove(request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Remove a member."""
    return _change(request, viewer, form, lambda teams, viewer: teams.remove(viewer, text_of(form, "name")))


@router.post("/transfer")
def transfer(request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Make another member the owner."""
    return _change(request, viewer, form, lambda teams, viewer: teams.transfer(viewer, text_of(form, "name")))


def _change(
    request: Request, viewer: Viewer | None, form: SmallForm, act: Callable[[TeamService, Viewer], object]
) -> Response:
    """Do what a form asks for, then back to the page; what is not possible is said there."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    try:
        with get_database(request).write() as session:
            act(TeamService(session, get_settings(request)), viewer)
    except DatacompError as error:
        return answer(request, _page(request, viewer, problems=list(error.problems)), status_of(error))
    return go("/team")


def _page(
    request: Request, viewer: Viewer, *, new_invite: InviteOut | None = None, problems: list[Problem] | None = None
) -> TeamPage:
    with get_database(request).read() as session:
        team = TeamService(session, get_settings(request)).mine(viewer)
    return TeamPage(site=site_for(request, viewer), team=team, new_invite=new_invite, problems=problems or [])
