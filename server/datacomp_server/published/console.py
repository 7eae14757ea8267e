"""`datacomp admin import-published` and `remove-published`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console
from datacomp.messages import Track
from datacomp.published.tables import TABLE_3, read_published
from datacomp_server.audit.service import CONSOLE
from datacomp_server.database import Database
from datacomp_server.published.service import import_noted, remove_noted
from datacomp_server.settings import Settings, load_settings

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]


def add_published_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add what organisers do about papers' tables to their commands."""

    @admin.command("import-published")
    def import_published(
        file: Annotated[Path, typer.Argument(help="A table (CSV), or table3: DataComp's own, which is at hand.")],
        track: Annotated[Track, typer.Option(help="Track that the rows belong to.")] = Track.FILTERING,
        source: Annotated[str, typer.Option(help="Paper and table, for tables without a column `source`.")] = "",
    ) -> None:
        """Load a paper's table as rows marked "published, not run here". Doing so again changes nothing."""
        rows = read_published(file, track=track, source=source)
        settings = load_settings()
        with open_database(settings) as database, database.write() as session:
            done = import_noted(session, settings, rows, about=file.name, actor=CONSOLE)
        console.print(f"{file.name}: {done.new} rows new, {done.changed} changed, {done.unchanged} there already")

    @admin.command("remove-published")
    def remove_published(
        source: Annotated[str, typer.Argument(help="Paper and table, as the rows say, or table3: DataComp's own.")],
    ) -> None:
        """Remove the rows of a paper's table."""
        settings = load_settings()
        with open_database(settings) as database, database.write() as session:
            count = remove_noted(session, settings, source, CONSOLE)
        console.print(f"{source}: {count} rows removed")
        if source == TABLE_3 and settings.published_table:
            console.print("the next start loads them again, unless DATACOMP_PUBLISHED_TABLE=false")
