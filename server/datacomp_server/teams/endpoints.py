"""`/api/team`: the team of whoever asks."""

from __future__ import annotations

from fastapi import APIRouter

from datacomp.messages import InviteCode, InviteCreate, InviteOut, MemberName, TeamCreate, TeamOut
from datacomp_server.dependencies import AccountDep, TeamServiceDep, ViewerDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api/team", tags=["teams"])


@router.post("", status_code=201, responses=refusals(401, 403, 409))
def create_team(create: TeamCreate, viewer: AccountDep, teams: TeamServiceDep) -> TeamOut:
    """Make a team. What its members submit from now on belongs to it and counts against one quota."""
    return teams.create(viewer, create.name)


@router.get("", responses=refusals(401, 404))
def own_team(viewer: ViewerDep, teams: TeamServiceDep) -> TeamOut:
    """Your team and who is in it."""
    return teams.must_have(viewer)


@router.post("/invites", status_code=201, responses=refusals(401, 403, 404))
def invite(create: InviteCreate, viewer: AccountDep, teams: TeamServiceDep) -> InviteOut:
    """A code that lets people join your team, shown this once. For its owner."""
    return teams.invite(viewer, create)


@router.delete("/invites/{invite}", status_code=204, responses=refusals(401, 403, 404))
def revoke_invite(invite: str, viewer: AccountDep, teams: TeamServiceDep) -> None:
    """Make an invitation useless. For the team's owner."""
    teams.revoke_invite(viewer, invite)


@router.post("/join", responses=refusals(401, 403, 404, 409))
def join(code: InviteCode, viewer: AccountDep, teams: TeamServiceDep) -> TeamOut:
    """Join the team that a code leads to."""
    return teams.join(viewer, code.code)


@router.post("/leave", status_code=204, responses=refusals(401, 403, 404, 409))
def leave(viewer: AccountDep, teams: TeamServiceDep) -> None:
    """Leave your team. What you submitted for it stays its own."""
    teams.leave(viewer)


@router.post("/remove", responses=refusals(401, 403, 404, 409))
def remove(member: MemberName, viewer: AccountDep, teams: TeamServiceDep) -> TeamOut:
    """Remove a member. For the team's owner."""
    return teams.remove(viewer, member.name)


@router.post("/transfer", responses=refusals(401, 403, 404, 409))
def transfer(member: MemberName, viewer: AccountDep, teams: TeamServiceDep) -> TeamOut:
    """Make another member the owner. For the team's owner."""
    return teams.transfer(viewer, member.name)
