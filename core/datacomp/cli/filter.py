"""`filter`: what participants do most. It starts without Typer where it can, see `quick`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from datacomp.cli.quick import lazily
from datacomp.console import counting, say
from datacomp.problems import BadInput

if TYPE_CHECKING:
    import typer
else:
    typer = lazily("typer")


def filter(  # noqa: A001 - the command's name
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="Name of a filter, a Python file, or an expression.", metavar="NAME_OR_FILE")
    ],
    out: Annotated[Path | None, typer.Option(help="Where the uids go (npy).")] = None,
    pool: Annotated[Path | None, typer.Option(help="Directory of the pool.")] = None,
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
    if compare is not None and not dry_run:
        raise BadInput.of("option-alone", "--compare shows an overlap without writing anything", hint="add --dry-run")
    title = f"filter {Path(what).name}"
    if dry_run:
        with counting(title, "rows") as report:
            preview = preview_filter(
                what, directory, parameters, compare, engine=engine, address=ray_address, report=report
            )
        for line in preview.lines():
            say(line)
        return
    if out is None:
        raise BadInput.of("out-missing", "nothing says where the uids go", hint="--out uids.npy, or --dry-run")
    with counting(title, "rows") as report:
        kept = run_filter(what, directory, out, parameters, engine=engine, address=ray_address, report=report)
    say("kept ", (f"{kept.rows_kept:,}", "bold"), f" of {kept.rows_in:,} rows in {kept.seconds:.2f} s: {out}")
    if kept.nan_scores:
        say((f"{kept.nan_scores:,} rows had no score (NaN) and were not kept", "yellow"))


def find_pool(given: Path | None, name: str) -> Path | None:
    """The pool's directory: as given, else of that name in this machine's data directory, else None."""
    if given is not None:
        return given
    path = place_of_pool(name)
    return path if path.is_dir() else None


def place_of_pool(name: str) -> Path:
    """Where a pool of that name lies in this machine's data directory."""
    return Path(os.environ.get("DATACOMP_DATA_DIR", "demo-data")) / "pools" / name


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
