"""`datacomp admin backup`, `restore`, `submissions`, `cancel`, `requeue`, `withdraw`, `remove-uid` and `export`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from datacomp.console import console
from datacomp_server.audit.service import CONSOLE, Act, Audit
from datacomp_server.boards.removals import Removals
from datacomp_server.database import Database
from datacomp_server.operation.acts import SubmissionActs
from datacomp_server.operation.backup import BackupReport, back_up, restore
from datacomp_server.operation.export import export_board
from datacomp_server.operation.repository import OperationRepository
from datacomp_server.settings import Settings, load_settings
from datacomp_server.storage import Storage

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]
Id = Annotated[str, typer.Argument(help="Id of the submission.")]
Reason = Annotated[str, typer.Option(help="Why; it stands in the submission's history.")]


def add_operation_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add what organisers do with the platform as a whole to their commands."""
    _add_submission_commands(admin, open_database)

    @admin.command("backup")
    def backup(
        folder: Annotated[Path, typer.Argument(help="Where backups lie; files are shared by all of them.")],
    ) -> None:
        """Copy the database and every file that it refers to, while the platform goes on."""
        _tell("backed up", back_up(load_settings(), folder))

    @admin.command("restore")
    def bring_back(
        folder: Annotated[Path, typer.Argument(help="A folder of backups.")],
        at: Annotated[str | None, typer.Option(help="Time stamp of the backup; default: the newest.")] = None,
    ) -> None:
        """Bring a backup back into an empty database and storage, checking every digest."""
        _tell("restored", restore(load_settings(), folder, at))

    @admin.command("remove-uid")
    def remove_uid(
        pool: Annotated[str, typer.Argument(help="Name of the pool.")],
        uids: Annotated[list[str], typer.Argument(help="Uids, 32 hex digits each.")],
        reason: Annotated[str, typer.Option(help="Why, for your records.")] = "on request",
        undo: Annotated[bool, typer.Option("--undo", help="Take the removal back.")] = False,
    ) -> None:
        """Remove samples from a pool: no longer trained with, never shown. Scores that stand stay."""
        settings = load_settings()
        with open_database(settings) as database, database.write() as session:
            removals = Removals(session)
            count = (
                removals.restore(pool, uids) if undo else removals.remove(pool, uids, actor=CONSOLE.name, reason=reason)
            )
            total = len(removals.of_pool(pool))
            what = Act.UIDS_RESTORED if undo else Act.UIDS_REMOVED
            Audit(session, settings).note(what, actor=None, about=pool, count=count, reason=reason)
        console.print(f"{count} uids {'brought back' if undo else 'removed'}; {total} are removed from {pool}")

    @admin.command("export")
    def export(
        board: Annotated[str, typer.Argument(help="Name of the board.")],
        folder: Annotated[Path, typer.Option("--out", help="Folder to write into.")],
        private: Annotated[
            bool, typer.Option("--private", help="With private tasks, before they are revealed: not to be published.")
        ] = False,
    ) -> None:
        """Write a board's leaderboard (CSV, all scores) and the manifest of every entry."""
        settings = load_settings()
        with open_database(settings) as database:
            count = export_board(database, settings, board, folder, private=private)
        console.print(f"{count} entries of {board} are in {folder}")


def _add_submission_commands(admin: typer.Typer, open_database: OpenDatabase) -> None:
    @admin.command("submissions")
    def submissions(
        board: Annotated[str | None, typer.Option(help="Only of this board.")] = None,
        state: Annotated[str | None, typer.Option(help="Only in this state.")] = None,
        limit: Annotated[int, typer.Option(min=1, help="At most so many, newest first.")] = 50,
    ) -> None:
        """List submissions of everybody."""
        table = Table("id", "board", "by", "method", "state", "handed in")
        with open_database(load_settings()) as database, database.read() as session:
            for row in OperationRepository(session).submissions(board, state, limit):
                at = f"{row.created_at:%Y-%m-%d %H:%M}"
                table.add_row(row.id, row.board_name, row.user.name, row.method, row.state, at)
        console.print(table)

    @admin.command("cancel")
    def cancel(submission: Id, reason: Reason = "stopped by an organiser") -> None:
        """Stop a submission that is not finished."""
        _carry_out(open_database, Act.SUBMISSION_CANCELLED, submission, reason)

    @admin.command("requeue")
    def requeue(submission: Id, reason: Reason = "taken up again by an organiser") -> None:
        """Take up a failed submission again where it failed: after a fault of the platform that has been mended."""
        _carry_out(open_database, Act.SUBMISSION_REQUEUED, submission, reason)

    @admin.command("withdraw")
    def withdraw(submission: Id, reason: Reason = "withdrawn by an organiser") -> None:
        """Take a scored submission off its board."""
        _carry_out(open_database, Act.SUBMISSION_WITHDRAWN, submission, reason)


def _carry_out(open_database: OpenDatabase, what: Act, submission: str, reason: str) -> None:
    """Do something to a submission, and note it: who has the server's console needs no account."""
    settings = load_settings()
    with open_database(settings) as database, database.write() as session:
        acts = SubmissionActs(session, settings, Storage(settings.storage_url))
        state = acts.carry_out(what, submission, CONSOLE, reason).state
    console.print(f"submission {submission} is {state} now")


def _tell(what: str, report: BackupReport) -> None:
    size = report.bytes / 1e6
    console.print(f"{what} {report.taken_at}: {report.database}, {report.files} files ({size:,.1f} MB)")
    if what == "backed up":
        console.print(f"{report.new_files} files were new; {len(report.gone)} were deleted meanwhile")
