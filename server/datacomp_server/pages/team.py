"""The page of one's team, and where invitations lead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.responses import Response

from datacomp.messages import InviteCreate, InviteOut, TeamCreate
from datacomp.problems import BadInput, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings
from datacomp_server.pages.people_contexts import JoinPage, TeamPage
from datacomp_server.pages.signed import Sent, SignedPage, attempt, signed_form
from datacomp_server.pages.web import answer, site_for
from datacomp_server.teams.service import TeamService

router = APIRouter(prefix="/team", include_in_schema=False)
TeamForm = Annotated[Sent, Depends(signed_form("/team"))]


@router.get("")
def team_page(request: Request, viewer: SignedPage) -> Response:
    """The team, or how to get into one."""
    return answer(request, _page(request, viewer))


@router.post("/create")
def create(request: Request, sent: TeamForm) -> Response:
    """Make a team."""

    def act(teams: TeamService, viewer: Viewer) -> None:
        try:
            wish = TeamCreate(name=sent.text("name"))
        except ValidationError as error:
            hint = "use 2 to 39 letters, digits, blanks, dots, dashes, underscores; a letter or digit at both ends"
            raise BadInput.of("name-invalid", "the name does not fit", where="name", hint=hint) from error
        teams.create(viewer, wish.name)

    return _change(request, sent, act)


@router.post("/invites")
def invite(request: Request, sent: TeamForm, database: DatabaseDep, settings: SettingsDep) -> Response:
    """A new invitation, its code shown in this one answer."""

    def act() -> TeamPage:
        try:
            wish = InviteCreate.model_validate({"expires_days": sent.text("days"), "uses": sent.text("uses")})
        except ValidationError as error:
            message = "give 1 to 90 days, and 1 to 100 people"
            raise BadInput.of("invite-invalid", message, where="days", hint="correct it") from error
        with database.write() as session:
            made = TeamService(session, settings).invite(sent.viewer, wish)
        return _page(request, sent.viewer, new_invite=made)

    return attempt(request, act, lambda problems: _page(request, sent.viewer, problems=problems))


@router.post("/invites/{invite_id}/revoke")
def revoke_invite(invite_id: str, request: Request, sent: TeamForm) -> Response:
    """Make an invitation useless."""
    return _change(request, sent, lambda teams, viewer: teams.revoke_invite(viewer, invite_id))


@router.get("/join")
def join_page(request: Request, viewer: SignedPage, code: Annotated[str, Query(max_length=200)] = "") -> Response:
    """Where an invitation leads: asks for a click."""
    with get_database(request).read() as session:
        team = TeamService(session, get_settings(request)).invited_to(code)
    return answer(request, JoinPage(site=site_for(request, viewer), team=team, code=code, present=viewer.team))


@router.post("/join")
def join(request: Request, sent: TeamForm) -> Response:
    """Join."""
    return _change(request, sent, lambda teams, viewer: teams.join(viewer, sent.text("code")))


@router.post("/leave")
def leave(request: Request, sent: TeamForm) -> Response:
    """Leave."""
    return _change(request, sent, lambda teams, viewer: teams.leave(viewer))


@router.post("/remove")
def remove(request: Request, sent: TeamForm) -> Response:
    """Remove a member."""
    return _change(request, sent, lambda teams, viewer: teams.remove(viewer, sent.text("name")))


@router.post("/transfer")
def transfer(request: Request, sent: TeamForm) -> Response:
    """Make another member the owner."""
    return _change(request, sent, lambda teams, viewer: teams.transfer(viewer, sent.text("name")))


def _change(request: Request, sent: Sent, act: Callable[[TeamService, Viewer], object]) -> Response:
    """Do what a form asks for, then back to the page; what is not possible is said there."""

    def go_on() -> str:
        with get_database(request).write() as session:
            act(TeamService(session, get_settings(request)), sent.viewer)
        return "/team"

    return attempt(request, go_on, lambda problems: _page(request, sent.viewer, problems=problems))


def _page(
    request: Request, viewer: Viewer, *, new_invite: InviteOut | None = None, problems: list[Problem] | None = None
) -> TeamPage:
    with get_database(request).read() as session:
        team = TeamService(session, get_settings(request)).mine(viewer)
    return TeamPage(site=site_for(request, viewer), team=team, new_invite=new_invite, problems=problems or [])
