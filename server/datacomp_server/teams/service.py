"""Rules of teams. Somebody is in at most one team at a time, and what they submit meanwhile belongs to it for good.

Locks are taken in one order, the account before the team, so that joining, leaving and submitting wait for each other
and never forever.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.orm import Session

from datacomp.messages import InviteCreate, InviteInfo, InviteOut, TeamMemberOut, TeamOut
from datacomp_server.accounts.models import Role, Team, TeamInvite, TeamMember
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.accounts.security import hash_secret, new_secret
from datacomp_server.accounts.service import RESERVED_NAMES, RESERVED_PREFIX, Viewer
from datacomp_server.audit.service import Act, Audit
from datacomp_server.clock import now
from datacomp_server.errors import Conflict, Forbidden, NotFound
from datacomp_server.settings import Settings
from datacomp_server.teams.repository import TeamRepository

MOST_MEMBERS = 50


class TeamService:
    """Everything that people do with teams."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.teams = TeamRepository(session)
        self.accounts = AccountRepository(session)
        self.audit = Audit(session, settings)

    # --- reading

    def mine(self, viewer: Viewer) -> TeamOut | None:
        """The viewer's team; None when in none."""
        membership = self.teams.membership(viewer.user_id)
        return self._out(membership) if membership else None

    def must_have(self, viewer: Viewer) -> TeamOut:
        """The viewer's team; `NotFound` when in none."""
        return self._out(self._membership(viewer))

    def invited_to(self, code: str) -> str:
        """The name of the team that a code leads to; `NotFound` when it does not work any more."""
        return self._invite(code).team.name

    # --- coming

    def create(self, viewer: Viewer, name: str) -> TeamOut:
        """A new team, owned by the viewer."""
        if viewer.role is Role.WORKER:
            raise Forbidden.of("workers-do-not-submit", "a worker's account cannot take part")
        self._hold_free(viewer)
        self.accounts.lock_names()
        key = name.lower()
        if key in RESERVED_NAMES or key.startswith(RESERVED_PREFIX) or self.accounts.name_taken(name):
            message = f"the name {name!r} is taken by a team or an account"
            raise Conflict.of("name-taken", message, where="name", hint="choose another name")
        team = self.teams.add(Team(name=name, name_key=key))
        membership = self.teams.add(TeamMember(team_id=team.id, user_id=viewer.user_id, owner=True))
        self.audit.note(Act.TEAM_MADE, actor=viewer.user_id, subject=viewer.user_id, about=team.id, name=name)
        return self._out(membership)

    def invite(self, viewer: Viewer, create: InviteCreate) -> InviteOut:
        """A code that lets people join; the answer is the only time it is shown. Owners only."""
        membership = self._owned(viewer)
        code = new_secret()
        invite = TeamInvite(team_id=membership.team_id, digest=hash_secret(code), created_by=viewer.user_id)
        invite.expires_at, invite.uses_left = now() + timedelta(days=create.expires_days), create.uses
        self.teams.add(invite)
        self.audit.note(
            Act.TEAM_INVITED, actor=viewer.user_id, about=membership.team_id, invite=invite.id, uses=create.uses
        )
        return InviteOut(
            code=code,
            url=f"{self.settings.public_url}/team/join?code={code}",
            team=membership.team.name,
            expires_at=invite.expires_at,
            uses_left=invite.uses_left,
        )

    def revoke_invite(self, viewer: Viewer, invite_id: str) -> None:
        """Make an invitation useless. Owners only."""
        membership = self._owned(viewer)
        if not self.teams.delete_invites(membership.team_id, invite_id):
            raise NotFound.of("invite-unknown", "there is no such invitation", where=invite_id)
        self.audit.note(Act.TEAM_INVITE_REVOKED, actor=viewer.user_id, about=membership.team_id, invite=invite_id)

    def join(self, viewer: Viewer, code: str) -> TeamOut:
        """Join the team that the code leads to."""
        if viewer.role is Role.WORKER:
            raise Forbidden.of("workers-do-not-submit", "a worker's account cannot take part")
        self._hold_free(viewer)
        invite = self._invite(code)
        team = self.teams.lock(invite.team_id)
        if team is None or team.closed_at is not None or not self.teams.use_invite(invite.id, now()):
            raise self._useless()
        if len(self.teams.members(team.id)) >= MOST_MEMBERS:
            raise Conflict.of("team-full", f"the team has {MOST_MEMBERS} members already", where=team.name)
        membership = self.teams.add(TeamMember(team_id=team.id, user_id=viewer.user_id, owner=False))
        self.audit.note(Act.TEAM_JOINED, actor=viewer.user_id, subject=viewer.user_id, about=team.id, invite=invite.id)
        return self._out(membership)

    # --- going

    def leave(self, viewer: Viewer) -> None:
        """Leave the team. The last member closes it; an owner of others hands it over first."""
        self.accounts.lock_user(viewer.user_id)
        membership = self._membership(viewer)
        team = self.teams.lock(membership.team_id)
        members = self.teams.members(membership.team_id)
        if membership.owner and len(members) > 1:
            raise Conflict.of(
                "owner-must-hand-over",
                "the owner cannot leave a team that others are in",
                where=membership.team.name,
                hint="hand the team over to another member first: datacomp team transfer NAME",
            )
        membership.left_at = now()
        if len(members) == 1 and team is not None:
            team.closed_at = membership.left_at
            self.teams.delete_invites(team.id)
        self.audit.note(Act.TEAM_LEFT, actor=viewer.user_id, subject=viewer.user_id, about=membership.team_id)

    def remove(self, viewer: Viewer, name: str) -> TeamOut:
        """Remove another member. Owners only."""
        mine = self._owned(viewer)
        self.accounts.lock_user(self._other(mine, viewer, name).user_id)
        self.teams.lock(mine.team_id)
        other = self._other(mine, viewer, name)
        other.left_at = now()
        self.audit.note(Act.TEAM_REMOVED, actor=viewer.user_id, subject=other.user_id, about=mine.team_id)
        return self._out(mine)

    def transfer(self, viewer: Viewer, name: str) -> TeamOut:
        """Make another member the owner. Owners only."""
        mine = self._owned(viewer)
        self.teams.lock(mine.team_id)
        other = self._other(mine, viewer, name)
        mine.owner, other.owner = False, True
        self.audit.note(Act.TEAM_OWNER_CHANGED, actor=viewer.user_id, subject=other.user_id, about=mine.team_id)
        return self._out(mine)

    # --- inside

    def _hold_free(self, viewer: Viewer) -> None:
        self.accounts.lock_user(viewer.user_id)
        present = self.teams.membership(viewer.user_id)
        if present is not None:
            raise Conflict.of(
                "in-a-team",
                f"you are in the team {present.team.name}; one can be in one team at a time",
                where="team",
                hint="leave it first: datacomp team leave",
            )

    def _membership(self, viewer: Viewer) -> TeamMember:
        membership = self.teams.membership(viewer.user_id)
        if membership is None:
            hint = "make one: datacomp team create NAME, or ask for an invitation"
            raise NotFound.of("no-team", "you are in no team", hint=hint)
        return membership

    def _owned(self, viewer: Viewer) -> TeamMember:
        membership = self._membership(viewer)
        if not membership.owner:
            raise Forbidden.of("owners-only", "only the team's owner may do this", where=membership.team.name)
        return membership

    def _other(self, mine: TeamMember, viewer: Viewer, name: str) -> TeamMember:
        other = self.teams.member(mine.team_id, name)
        if other is None:
            raise NotFound.of("member-unknown", f"{name!r} is not in the team", where="name")
        if other.user_id == viewer.user_id:
            raise Conflict.of("yourself", "that is yourself", where="name", hint="name another member, or leave")
        return other

    def _invite(self, code: str) -> TeamInvite:
        invite = self.teams.invite(hash_secret(code))
        if invite is None or invite.uses_left < 1 or invite.expires_at <= now() or invite.team.closed_at is not None:
            raise self._useless()
        return invite

    @staticmethod
    def _useless() -> NotFound:
        message = "this invitation is unknown, used up or expired"
        return NotFound.of("invite-unknown", message, where="code", hint="ask the team's owner for another")

    def _out(self, membership: TeamMember) -> TeamOut:
        team = membership.team
        invites = self.teams.invites(team.id, now()) if membership.owner else []
        names = self.teams.names({invite.created_by for invite in invites})
        return TeamOut(
            name=team.name,
            created_at=team.created_at,
            owner=membership.owner,
            members=[
                TeamMemberOut(name=row.user.name, owner=row.owner, joined_at=row.joined_at)
                for row in self.teams.members(team.id)
            ],
            invites=[
                InviteInfo(
                    id=invite.id,
                    created_by=names[invite.created_by],
                    created_at=invite.created_at,
                    expires_at=invite.expires_at,
                    uses_left=invite.uses_left,
                )
                for invite in invites
            ],
        )
