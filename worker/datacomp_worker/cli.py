"""The commands of the worker extra: `worker` and `pool generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, steps

commands = typer.Typer()
pool_commands = typer.Typer()
"""Added by the main command to its `pool` group."""


@commands.command()
def worker(
    queues: Annotated[str, typer.Option(help="Queues to serve, separated by commas.")] = "cpu",
    name: Annotated[str | None, typer.Option(help="Name shown on pages; default host and process id.")] = None,
) -> None:
    """Claim runs from the server and carry them out (settings: DATACOMP_SERVER_URL, DATACOMP_WORKER_TOKEN, ...)."""
    from datacomp.logs import log_to
    from datacomp_worker.app import serve
    from datacomp_worker.pipeline import run_context
    from datacomp_worker.settings import TrainSettings, WorkerSettings

    names = tuple(queue.strip() for queue in queues.split(",") if queue.strip())
    TrainSettings()  # what is wrong there is said now, not when the first training comes
    settings = WorkerSettings(**({"worker_name": name} if name else {}))  # type: ignore[arg-type]
    log_to(sys.stderr, settings.log_format, settings.log_level, run_context)
    serve(settings, names)


@commands.command("train-host")
def train_host() -> None:
    """Lend this host to the trainings of a worker that launches on `hosts` (setting: DATACOMP_SCRATCH_DIR)."""
    from datacomp.logs import log_to
    from datacomp_worker.settings import ScratchSettings
    from datacomp_worker.training.host import serve

    settings = ScratchSettings()
    log_to(sys.stderr, settings.log_format, settings.log_level, dict)
    serve(settings.scratch)


@pool_commands.command()
def generate(
    directory: Annotated[Path, typer.Argument(help="Where the pool goes.")],
    pairs: Annotated[int, typer.Option(min=256, help="Image-text pairs.")] = 16_384,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 0,
    suite_dir: Annotated[
        Path | None, typer.Option(help="Where the evaluation suite goes; default DIRECTORY/suite.")
    ] = None,
) -> None:
    """Generate the tiny world: a small image-text pool that behaves like a crawl, and its evaluation suite."""
    from datacomp_worker.world import generate as generate_world

    with steps("tiny world") as report:
        world = generate_world(directory, suite_dir or directory / "suite", pairs=pairs, seed=seed, report=report)
    console.print(f"[bold]{world.rows:,}[/] pairs in {world.shards} shards at {directory}")
