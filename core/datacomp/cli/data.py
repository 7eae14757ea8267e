"""`check`, `pool info`, `pool ingest`, `pool add-column`: what participants do on their own machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from datacomp.cli.filter import filter as filter_command
from datacomp.cli.filter import find_pool
from datacomp.console import console, counting, show_problems

commands = typer.Typer()
pool_commands = typer.Typer()


@commands.command()
def check(
    file: Annotated[Path, typer.Argument(help="uids as npy (u8,u8), a Python file with a filter, or an .expr file.")],
    scale: Annotated[str, typer.Option(help="Scale of the board it is for.")] = "tiny",
    pool: Annotated[Path | None, typer.Option(help="Directory of the pool.")] = None,
) -> None:
    """Check a submission offline, by the code that the platform runs. Exit code 1 when it would be rejected."""
    from datacomp.checks import check_file
    from datacomp.pool import Pool
    from datacomp.scales import get_scale

    directory = find_pool(pool, get_scale(scale).name)
    report = check_file(file, Pool.open(directory) if directory else None)
    if report.problems:
        show_problems(report.problems)
        raise typer.Exit(1)
    console.print(f"[green]good[/]: {report.summary}")
    if directory is None:
        console.print("[yellow]not checked[/]: whether the pool has these uids (give --pool DIR)")


commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(filter_command)


@pool_commands.command()
def ingest(
    directory: Annotated[Path, typer.Argument(help="An original DataComp directory: metadata/, shards/.")],
    processes: Annotated[int | None, typer.Option(help="Default: all cores.")] = None,
    language_model: Annotated[
        Path | None, typer.Option(help="A fastText language model; default the packaged lid.176.ftz.")
    ] = None,
    no_language: Annotated[bool, typer.Option("--no-language", help="Leave the language away.")] = False,
    cld3: Annotated[bool, typer.Option("--cld3", help="Add the language by CLD3, for laion2b.")] = False,
    wordnet: Annotated[Path | None, typer.Option(help="WordNet's dictionary, for text_based.")] = None,
    synsets: Annotated[Path | None, typer.Option(help="Synsets to match, one a line: n02084071.")] = None,
    centroids: Annotated[Path | None, typer.Option(help="Centroids over l14_img (npy), for image_based.")] = None,
) -> None:
    """Build the pool's pack: memory-mappable columns beside the metadata. Safe to interrupt and to repeat.

    Run it again with further options, and only what they ask for is computed.
    """
    from datacomp.pool import Extras
    from datacomp.pool import ingest as ingest_pool

    extras = Extras(not no_language, language_model, cld3, wordnet, synsets, centroids)
    with counting("ingest", "rows") as report:
        pool = ingest_pool(directory, processes=processes, extras=extras, report=report)
    console.print(f"[bold]{pool.manifest.rows:,}[/] rows, digest {pool.manifest.digest[:16]}")


@pool_commands.command()
def add_column(
    directory: Annotated[Path, typer.Argument(help="Directory of the pool.")],
    file: Annotated[Path, typer.Argument(help="Scores: a parquet file with `uid` and numeric columns.")],
    name: Annotated[str | None, typer.Option(help="Another name for the file's only column.")] = None,
) -> None:
    """Add scores of the pool's samples as columns. Samples that the file lacks get none (NaN)."""
    from datacomp.pool import Pool
    from datacomp.pool import add_column as add

    names = [column.name for column in add(directory, file, name)]
    digest = Pool.open(directory).manifest.digest
    console.print(f"added {', '.join(names)}; the pool's digest is now {digest[:16]}")


@pool_commands.command()
def info(directory: Annotated[Path, typer.Argument(help="Directory of the pool.")]) -> None:
    """Show what a pool holds."""
    from datacomp.commands.pool import pool_info

    for line in pool_info(directory).lines():
        console.print(line, highlight=False)
