"""`datacomp admin hours` and `datacomp admin priority`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Annotated

import typer
from rich.table import Table

from datacomp.console import console
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.errors import NotFound
from datacomp_server.runs.hours import GroupBy, Hours, HoursLine, HoursRepository
from datacomp_server.settings import Settings, load_settings
from datacomp_server.submissions.repository import SubmissionRepository

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]


def add_run_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add what organisers do with runs to their commands."""

    @admin.command("hours")
    def hours(
        by: Annotated[GroupBy, typer.Option(help="What to sum by.")] = GroupBy.BOARD,
        days: Annotated[float | None, typer.Option(help="Only attempts that began in the last so many days.")] = None,
    ) -> None:
        """GPU and processor hours of all attempts, lost ones too."""
        since = now() - timedelta(days=days) if days is not None else None
        with open_database(load_settings()) as database, database.read() as session:
            lines = HoursRepository(session).lines(by, since)
        console.print(_table(by, lines))

    @admin.command("priority")
    def priority(
        submission: Annotated[str, typer.Argument(help="Id of the submission.")],
        value: Annotated[int, typer.Argument(min=-1000, max=1000, help="0 is normal; higher is served first.")],
    ) -> None:
        """Let a submission's runs be served before, or after, all others."""
        with open_database(load_settings()) as database, database.write() as session:
            row = SubmissionRepository(session).lock(submission)
            if row is None:
                raise NotFound.of("submission-unknown", "there is no such submission", where=submission)
            row.priority = value
        console.print(f"submission {submission} has priority {value}")


def _table(by: GroupBy, lines: list[HoursLine]) -> Table:
    table = Table(by.value, "GPU hours", "CPU hours", "attempts", "of them in vain")
    total = sum((line.hours for line in lines), Hours())
    for line in lines:
        table.add_row(line.name, *_figures(line.hours), str(line.attempts), str(line.lost))
    table.add_section()
    counts = (sum(line.attempts for line in lines), sum(line.lost for line in lines))
    table.add_row("all", *_figures(total), *(str(count) for count in counts))
    return table


def _figures(hours: Hours) -> tuple[str, str]:
    return f"{hours.gpu:,.3f}", f"{hours.cpu:,.3f}"
