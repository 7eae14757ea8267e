"""`datacomp admin seed-deviation`: how far seeds of one submission lie apart on a board."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Annotated

import typer

from datacomp.console import console
from datacomp_server.audit.service import CONSOLE
from datacomp_server.boards.deviation import GIVEN, SeedDeviation
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.leaderboard.deviations import FEW, measured, replicates, set_deviation
from datacomp_server.settings import Settings, load_settings

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]


def add_rank_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add what organisers do about ranks to their commands."""

    @admin.command("seed-deviation")
    def seed_deviation(
        board: Annotated[str, typer.Argument(help="Name of the board.")],
        measure: Annotated[
            bool, typer.Option("--measure", help="Measure it from subsets that were trained with several seeds.")
        ] = False,
        given: Annotated[
            str | None, typer.Option("--set", help="Set it, for instance average=0.004,main=0.003.")
        ] = None,
        default: Annotated[bool, typer.Option("--default", help="Go back to the defaults.")] = False,
    ) -> None:
        """Show, measure or set the deviation between seeds that a board's rank ranges reckon with."""
        if sum((measure, given is not None, default)) > 1:
            raise typer.BadParameter("give one of --measure, --set and --default")
        settings = load_settings()
        changes = measure or default or given is not None
        with open_database(settings) as database, database.write() as session:
            row = BoardService(session).row(board)
            found = SeedDeviation.of(row)
            if measure:
                found = measured(replicates(session, row), found)
            elif given is not None or default:
                found = _given(given, found) if given is not None else SeedDeviation()
            if changes:
                set_deviation(session, settings, row, found, CONSOLE)
        _tell(board, found)


def _given(text: str, before: SeedDeviation) -> SeedDeviation:
    """`average=0.004,main=0.003`, either of which may be left out."""
    named = {"average": before.average, "main": before.main}
    for part in text.split(","):
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = -1.0
        if name.strip() not in named or not 0 < number < 1:
            raise typer.BadParameter(f"{part!r}: write average=0.004,main=0.003, each between 0 and 1")
        named[name.strip()] = number
    return SeedDeviation(named["average"], named["main"], source=GIVEN)


def _tell(board: str, found: SeedDeviation) -> None:
    freedom = f", {found.freedom} degrees of freedom" if found.freedom is not None else ""
    console.print(f"{board}: average {found.average:.4f}, main {found.main:.4f} ({found.source}{freedom})")
    for group, value in found.groups.items():
        console.print(f"  {group}: {value:.4f}")
    if found.freedom is not None and found.freedom < FEW:
        console.print("few degrees of freedom: more replicated baselines would tell it better")
