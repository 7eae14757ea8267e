"""`team ...`: people who submit together."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape

from datacomp.account_client import AccountClient
from datacomp.console import console
from datacomp.messages import TeamOut

team_commands = typer.Typer(
    help="Your team: one name on boards, one quota, submissions that all members see.", no_args_is_help=True
)
Member = Annotated[str, typer.Argument(help="The member's account name.")]


@team_commands.command()
def show() -> None:
    """Show the team, its members and open invitations."""
    _show(AccountClient.from_login().team())


@team_commands.command()
def create(name: Annotated[str, typer.Argument(help="Its name, shown on boards.")]) -> None:
    """Make a team. What you submit from then on belongs to it."""
    _show(AccountClient.from_login().create_team(name))


@team_commands.command()
def invite(
    uses: Annotated[int, typer.Option(min=1, max=100, help="For how many people.")] = 1,
    days: Annotated[int, typer.Option(min=1, max=90, help="For how many days.")] = 7,
) -> None:
    """Make an invitation and print its link, this once."""
    made = AccountClient.from_login().invite(expires_days=days, uses=uses)
    print(made.url)  # noqa: T201
    console.print(f"or: datacomp team join {made.code}", soft_wrap=True)


@team_commands.command("revoke-invite")
def revoke_invite(invite: Annotated[str, typer.Argument(help="Its id, as `datacomp team show` shows it.")]) -> None:
    """Make an invitation useless."""
    AccountClient.from_login().revoke_invite(invite)
    console.print("revoked")


@team_commands.command()
def join(code: Annotated[str, typer.Argument(help="The invitation's code, or its link.")]) -> None:
    """Join the team that an invitation leads to."""
    _show(AccountClient.from_login().join_team(code.rpartition("code=")[2]))


@team_commands.command()
def leave() -> None:
    """Leave the team. What you submitted for it stays its own."""
    AccountClient.from_login().leave_team()
    console.print("you left the team")


@team_commands.command()
def remove(name: Member) -> None:
    """Remove a member."""
    _show(AccountClient.from_login().remove_member(name))


@team_commands.command()
def transfer(name: Member) -> None:
    """Make another member the owner."""
    _show(AccountClient.from_login().transfer_team(name))


def _show(team: TeamOut) -> None:
    console.print(f"[bold]{escape(team.name)}[/], since {team.created_at:%Y-%m-%d}")
    for member in team.members:
        console.print(f"  {escape(member.name)}{' (owner)' if member.owner else ''}, since {member.joined_at:%Y-%m-%d}")
    for invite in team.invites:
        console.print(f"  invitation {invite.id}: {invite.uses_left} left, until {invite.expires_at:%Y-%m-%d}")
