"""`submit`, `status`, `cancel`, `withdraw`, `manifest`, `leaderboard`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from datacomp.cli.display import leaderboard_table, receipt_panel, watch
from datacomp.cli.filter import find_pool
from datacomp.client import Client
from datacomp.console import console, errors, transfer
from datacomp.http import Report
from datacomp.messages import BoardOut, SubmissionOut, Track
from datacomp.pool.manifest import read_manifest
from datacomp.problems import DatacompError

commands = typer.Typer()
Id = Annotated[str, typer.Argument(help="The submission's id.")]
Scale = Annotated[str, typer.Option(help="Scale of the board.")]
TrackName = Annotated[Track, typer.Option(help="Track of the board: filtering, or byod for datasets.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, as the API gives it.")]
FINAL_GOOD = frozenset({"scored", "withdrawn"})


@commands.command()
def submit(
    what: Annotated[
        str,
        typer.Argument(
            help="uids as npy (u8,u8), a Python file with a filter, an expression (its text, or an .expr file), or a "
            "dataset of url and caption (.parquet, .csv, .jsonl).",
            metavar="FILE_OR_EXPRESSION",
        ),
    ],
    scale: Scale = "tiny",
    track: TrackName = Track.FILTERING,
    board: Annotated[
        str | None, typer.Option(help="Board by name, instead of the board of --track and --scale.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the method; default the file's name.")] = None,
    description: Annotated[str, typer.Option(help="What the method does.")] = "",
    link: Annotated[str, typer.Option(help="A paper or repository.")] = "",
    rehearsal: Annotated[bool, typer.Option("--rehearsal", help="A few small steps, never ranked.")] = False,
    pool: Annotated[
        Path | None,
        typer.Option(help="The board's pool, ingested here: uids go out as a bitmap. Default: as `check` finds it."),
    ] = None,
    resume: Annotated[
        str | None, typer.Option(metavar="ID", help="Go on sending the file of this submission, opened before.")
    ] = None,
    follow: Annotated[bool, typer.Option("--watch", help="Stay and show its progress.")] = False,
    as_json: Json = False,
) -> None:
    """Hand in a submission. Prints its id and the address of its receipt page."""
    client = Client.from_login()
    with submitted_file(what) as file, _sending(file) as report:
        if resume is not None:
            there = pool_at_hand(client.board(client.submission(resume).board), pool)
            receipt = client.resume(resume, file, pool=there, report=report)
        else:
            target = client.board(board) if board else client.board_of(scale, track.value)
            receipt = client.submit(
                file,
                target.name,
                method=name,
                description=description or (what if str(file) != what else ""),
                link=link,
                rehearsal=rehearsal,
                pool=pool_at_hand(target, pool),
                insist=pool is not None,
                report=report,
            )
    if as_json:
        print(receipt.model_dump_json(indent=2))  # noqa: T201
    else:
        console.print(f"submission [bold]{receipt.id}[/] to {receipt.board}: {receipt.state}")
        console.print(f"receipt: {receipt.url}", soft_wrap=True)
        console.print(f"follow it: datacomp status {receipt.id} --watch")
    if follow:
        _leave(watch(client, receipt.id))


@contextmanager
def _sending(file: Path) -> Iterator[Report]:
    """A bar for the file, and a word about how to go on when it is left."""
    began = False
    try:
        with transfer(f"sending {file.name}", file.stat().st_size if file.is_file() else 0) as bar:

            def report(done: int, total: int) -> None:
                nonlocal began
                if done and not began:
                    errors.print("going on with what was sent before")
                began = True
                bar(done, total)

            yield report
    except KeyboardInterrupt:
        if began:
            errors.print("what was sent is kept: run the same command again to go on")
        raise


def pool_at_hand(board: BoardOut, given: Path | None) -> Path | None:
    """The directory of the board's ingested pool: as given, else in this machine's data directory if it is the same,
    as far as the board tells."""
    found = given or find_pool(None, board.pool)
    if given is not None or found is None:
        return given
    try:
        manifest = read_manifest(found)
    except DatacompError:
        return None
    same = board.pool_rows in {None, manifest.rows} and board.pool_digest in {None, manifest.digest}
    return found if same else None


@contextmanager
def submitted_file(what: str) -> Iterator[Path]:
    """The file that is sent: the one named, or one that holds the expression that was written instead. `BadInput` for
    an expression that does not parse; what looks like a file's name and is none is left to fail as a file."""
    path = Path(what)
    if (
        path.is_file()
        or path.suffix in {".npy", ".py", ".expr", ".parquet", ".csv", ".jsonl"}
        or not any(sign in what for sign in " (<>=")
    ):
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
def download(
    submission: Id,
    names: Annotated[list[str] | None, typer.Argument(help="Names of files; without any the files are listed.")] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder to write into.")] = Path(),
) -> None:
    """Fetch what a submission handed in and what came of it: your own, or what its board discloses."""
    client = Client.from_login()
    if not names:
        for file in client.files(submission):
            console.print(f"{file.name}  {file.size:,} bytes  sha256 {file.digest}", highlight=False)
        return
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        client.download(submission, name, out / name)
        console.print(f"{out / name}")


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
    track: TrackName = Track.FILTERING,
    board: Annotated[str | None, typer.Option(help="Board by name.")] = None,
    as_json: Json = False,
    tasks: Annotated[bool, typer.Option("--tasks", help="Show every task.")] = False,
) -> None:
    """Show a leaderboard."""
    table = Client.from_login().leaderboard(
        board=board, scale=None if board else scale, track=None if board else track.value
    )
    if as_json:
        print(table.model_dump_json(indent=2))  # noqa: T201
    else:
        console.print(leaderboard_table(table, all_tasks=tasks))
