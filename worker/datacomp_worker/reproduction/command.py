"""The command `datacomp reproduce`."""

from __future__ import annotations

import json
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, errors, steps
from datacomp.problems import BadInput

NEEDED = ("torch", "open_clip", "pydantic_settings")
"""Modules of the worker extra."""


class Until(StrEnum):
    """How far a reproduction goes."""

    SUBSET = "subset"
    TRAIN = "train"
    EVALUATE = "evaluate"


def reproduce(
    what: Annotated[str, typer.Argument(metavar="ID_OR_MANIFEST", help="A submission's id, or a manifest as JSON.")],
    server: Annotated[str | None, typer.Option(help="The server to ask; default that of the remembered login.")] = None,
    pool: Annotated[Path | None, typer.Option(help="The ingested pool; default as `check` finds it.")] = None,
    suite: Annotated[Path | None, typer.Option(help="Folder of the wds_* folders; default beside the pool.")] = None,
    stages: Annotated[Until, typer.Option(help="How far to go.")] = Until.EVALUATE,
    seed: Annotated[list[int] | None, typer.Option(help="Only this seed; may be given again.")] = None,
    file: Annotated[Path | None, typer.Option(help="The file that was handed in, if it is at hand.")] = None,
    subset: Annotated[
        Path | None, typer.Option(help="The uids that were trained on (npy); then nothing is selected again.")
    ] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Track byod: the fetched dataset.tar, with --subset; nothing is fetched again.")
    ] = None,
    work: Annotated[Path | None, typer.Option(help="Working directory; default reproduction-ID.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Do a result again from its manifest, and compare. Exit code 0 if it was reproduced, 1 if not.

    Interrupted, the same command goes on where it was. Filters that are code run in the sandbox alone. A dataset that
    was brought is fetched again, from the hosts that its file names.
    """
    _require_worker()
    from datacomp.messages import Track
    from datacomp.reproduction.show import show_comparison
    from datacomp.reproduction.source import open_source
    from datacomp_worker.reproduction.carry_out import Wish, carry_out
    from datacomp_worker.stages.base import Stage

    source = open_source(what, server)
    board = source.manifest.board
    found = _pool(pool, board.pool.name, needed=board.track is Track.FILTERING)
    wish = Wish(
        source=source,
        pool=found,
        suite=suite or _suite(found, board.suite.name),
        work=work or Path(f"reproduction-{source.manifest.submission.id}"),
        file=file,
        subset=subset,
        dataset=dataset,
        until=Stage(stages.value),
        seeds=tuple(seed) if seed else None,
    )
    try:
        with steps("reproduce") as report:
            comparison = carry_out(wish, report)
    except KeyboardInterrupt:
        errors.print(f"what is done is kept in {wish.work}: run the same command again to go on", highlight=False)
        raise
    if as_json:
        print(json.dumps(comparison.to_json(), indent=2))  # noqa: T201
    else:
        show_comparison(comparison, console)
    if not comparison.reproduced:
        raise typer.Exit(1)


def _require_worker() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        message = f"reproducing needs the worker's software, which lacks {', '.join(missing)} here"
        raise BadInput.of("extra-missing", message, hint="pip install 'datacomp[worker,cpu]', or [worker,gpu]")


def _suite(pool: Path, suite: str) -> Path:
    """In the pool's own folder, as the tiny world's; else where a platform keeps suites."""
    own = pool / "suite"
    return own if own.is_dir() else pool.parent.parent / "suites" / suite.partition("@")[0]


def _pool(given: Path | None, name: str, *, needed: bool) -> Path:
    """Where it lies. A dataset that takes no sample of the pool does without: the stage that misses it says so."""
    from datacomp.cli.filter import find_pool, place_of_pool

    found = find_pool(given, name)
    if found is None and not needed:
        return place_of_pool(name)
    if found is None:
        hint = f"give it with --pool DIR, after datacomp pool ingest DIR; it is the pool {name!r}"
        raise BadInput.of("pool-missing", "the pool is not at hand", name, hint)
    return found
