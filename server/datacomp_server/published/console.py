"""`datacomp admin import-published`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console
from datacomp.messages import Track
from datacomp.published.tables import read_published
from datacomp_server.audit.service import CONSOLE
from datacomp_server.database import Database
from datacomp_server.published.service import import_noted
from datacomp_server.settings import Settings, load_settings

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]


def add_published_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add the import of papers' tables to organisers' commands."""

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
