"""`submit`, `status`, `cancel`, `withdraw`, `manifest`, `leaderboard`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from datacomp.cli.display import leaderboard_table, receipt_panel, watch
from datacomp.client import Client
from datacomp.console import console, transfer
from datacomp.messages import SubmissionOut

commands = typer.Typer()
Id = Annotated[str, typer.Argument(help="The submission's id.")]
Scale = Annotated[str, typer.Option(help="Scale of the filtering board.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]
FINAL_GOOD = frozenset({"scored", "withdrawn"})


@commands.command()
def submit(
    what: Annotated[
        str,
        typer.Argument(
            help="uids as npy (u8,u8), a Python file with a filter, or an expression (its text, or an .expr file).",
            metavar="FILE_OR_EXPRESSION",
        ),
    ],
    scale: Scale = "tiny",
    board: Annotated[str | None, typer.Option(help="Board by name, instead of the filtering board of --scale.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the method; default the file's name.")] = None,
    description: Annotated[str, typer.Option(help="What the method does.")] = "",
    link: Annotated[str, typer.Option(help="A paper or repository.")] = "",
    rehearsal: Annotated[bool, typer.Option("--rehearsal", help="A few small steps, never ranked.")] = False,
    follow: Annotated[bool, typer.Option("--watch", help="Stay and show its progress.")] = False,
    as_json: Json = False,
) -> None:
    """Hand in a submission. Prints its id and the address of its receipt page."""
    client = Client.from_login()
    target = board or client.board_of(scale).name
    with submitted_file(what) as file:
        size = file.stat().st_size if file.is_file() else 0
        about = description or (what if str(file) != what else "")
        with transfer(f"sending {file.name}", size) as report:
            receipt = client.submit(
                file, target, method=name, description=about, link=link, rehearsal=rehearsal, report=report
            )
    if as_json:
        print(receipt.model_dump_json(indent=2))  # noqa: T201
    else:
        console.print(f"submission [bold]{receipt.id}[/] to {target}: {receipt.state}")
        console.print(f"receipt: {receipt.url}", soft_wrap=True)
        console.print(f"follow it: datacomp status {receipt.id} --watch")
    if follow:
        _leave(watch(client, receipt.id))


@contextmanager
def submitted_file(what: str) -> Iterator[Path]:
    """The file that is sent: the one named, or one that holds the expression that was written instead. `BadInput` for
    an expression that does not parse; what looks like a file's name and is none is left to fail as a file."""
    path = Path(what)
    if path.is_file() or path.suffix in {".npy", ".py", ".expr"} or not any(sign in what for sign in " (<>="):
        yield path
        return
    from datacomp.checks import parse_choice

    parse_choice(what)
    with tempfile.TemporaryDirectory(prefix="datacomp-submit-") as folder:
        written = Path(folder) / "expression.expr"
        written.write_text(what)
        yield written


@commands.command()
def status(
    submission: Id,
    follow: Annotated[bool, typer.Option("--watch", help="Stay until it is final.")] = False,
    as_json: Json = False,
) -> None:
    """Show a submission: its stages, live progress, result or what is wrong with it. Exit code 1 when it failed."""
    client = Client.from_login()
    receipt = watch(client, submission) if follow and not as_json else client.submission(submission)
    if as_json:
        while follow and not receipt.final:
            for _ in client.events(submission):
                pass
            receipt = client.submission(submission)
        print(receipt.model_dump_json(indent=2))  # noqa: T201
    elif not follow:
        console.print(receipt_panel(receipt))
    _leave(receipt)


def _leave(receipt: SubmissionOut) -> None:
    if receipt.final and receipt.state not in FINAL_GOOD:
        raise typer.Exit(1)


@commands.command()
def cancel(submission: Id) -> None:
    """Stop a submission that is not finished."""
    console.print(f"{submission}: {Client.from_login().cancel(submission).state}")


@commands.command()
def withdraw(submission: Id) -> None:
    """Take a scored submission off the leaderboard."""
    console.print(f"{submission}: {Client.from_login().withdraw(submission).state}")


@commands.command()
def manifest(submission: Id) -> None:
    """Print the manifest: everything the result depends on, by digest."""
    print(Client.from_login().manifest(submission).model_dump_json(indent=2))  # noqa: T201


@commands.command()
def leaderboard(
    scale: Scale = "tiny",
    board: Annotated[str | None, typer.Option(help="Board by name.")] = None,
    as_json: Json = False,
    tasks: Annotated[bool, typer.Option("--tasks", help="Show every task.")] = False,
) -> None:
    """Show a leaderboard."""
    table = Client.from_login().leaderboard(board=board, scale=None if board else scale)
    if as_json:
        print(table.model_dump_json(indent=2))  # noqa: T201
    else:
        console.print(leaderboard_table(table, all_tasks=tasks))
