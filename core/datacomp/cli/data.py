"""`check`, `filter`, `pool info`, `pool ingest`, `pool add-column`: what participants do on their own machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, counting, show_problems
from datacomp.problems import BadInput

commands = typer.Typer()
pool_commands = typer.Typer()
PoolOption = Annotated[Path | None, typer.Option(help="Directory of the pool.")]


def find_pool(given: Path | None, name: str) -> Path | None:
    """The pool's directory: as given, else of that name in this machine's data directory, else None."""
    if given is not None:
        return given
    path = Path(os.environ.get("DATACOMP_DATA_DIR", "demo-data")) / "pools" / name
    return path if path.is_dir() else None


@commands.command()
def check(
    file: Annotated[Path, typer.Argument(help="uids as npy (u8,u8), a Python file with a filter, or an .expr file.")],
    scale: Annotated[str, typer.Option(help="Scale of the board it is for.")] = "tiny",
    pool: PoolOption = None,
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


@commands.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def filter(  # noqa: A001 - the command's name
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="Name of a filter, a Python file, or an expression.", metavar="NAME_OR_FILE")
    ],
    out: Annotated[Path | None, typer.Option(help="Where the uids go (npy).")] = None,
    pool: PoolOption = None,
    scale: Annotated[str, typer.Option(help="Which of this machine's pools, when --pool is absent.")] = "tiny",
    engine: Annotated[str, typer.Option(help="`local`, or `ray` for pools that do not fit one machine.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="A Ray cluster; default one on this machine.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be kept; write nothing.")] = False,
    compare: Annotated[Path | None, typer.Option(help="With --dry-run: another subset (npy) to compare with.")] = None,
) -> None:
    """Apply a filter to a pool. Further options go to the filter: `clip_score --arch l14 --fraction 0.3`."""
    from datacomp.commands.filter import preview_filter, run_filter

    directory = find_pool(pool, scale)
    if directory is None:
        raise BadInput.of("pool-missing", "no pool was given and none is on this machine", hint="give --pool DIR")
    parameters = parameters_of(context.args)
    if dry_run:
        for line in preview_filter(what, directory, parameters, compare).lines():
            console.print(line, highlight=False, markup=False)
        return
    if out is None:
        raise BadInput.of("out-missing", "nothing says where the uids go", hint="--out uids.npy, or --dry-run")
    with counting(f"filter {Path(what).name}", "rows") as report:
        kept = run_filter(what, directory, out, parameters, engine=engine, address=ray_address, report=report)
    console.print(f"kept [bold]{kept.rows_kept:,}[/] of {kept.rows_in:,} rows in {kept.seconds:.2f} s: {out}")
    if kept.nan_scores:
        console.print(f"[yellow]{kept.nan_scores:,} rows had no score (NaN) and were not kept[/]")


def parameters_of(arguments: list[str]) -> dict[str, str]:
    """`["--arch", "l14", "--fraction=0.3"]` as a dict; `BadInput` for anything that is not an option with a value."""
    parameters: dict[str, str] = {}
    rest = list(arguments)
    while rest:
        option = rest.pop(0)
        name, equals, value = option.partition("=")
        if not name.startswith("--") or (not equals and not rest):
            raise BadInput.of("option-unknown", f"{option!r} is not an option with a value", hint="write --name value")
        parameters[name[2:].replace("-", "_")] = value if equals else rest.pop(0)
    return parameters


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
