"""`up` and `demo`: the whole platform on one machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

commands = typer.Typer()
DataDir = Annotated[Path, typer.Option(envvar="DATACOMP_DATA_DIR", help="Everything is kept here.")]
Port = Annotated[int, typer.Option(help="Port of the web page; another is taken when it is in use.")]


@commands.command()
def up(
    data_dir: DataDir = Path("demo-data"),
    port: Port = 8000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=0, help="Workers to start.")] = 2,
    queues: Annotated[str | None, typer.Option(help="Their queues; default cpu, and gpu where there is one.")] = None,
) -> None:
    """Start server, dispatcher and workers on this machine (SQLite and a file broker), until interrupted."""
    from datacomp.local.platform import LocalPlatform, interrupt_on_sigterm

    interrupt_on_sigterm()
    with LocalPlatform(data_dir, host=host, port=port, workers=workers, queues=queues) as platform:
        platform.announce()
        platform.keep_running()


@commands.command()
def demo(
    data_dir: DataDir = Path("demo-data"),
    port: Port = 8000,
    stop: Annotated[
        bool, typer.Option("--exit", help="End when the board is complete, instead of serving on.")
    ] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Leave the board here, as the API gives it.")] = None,
    pairs: Annotated[int, typer.Option(min=1024, help="Size of the tiny world.")] = 16_384,
) -> None:
    """The main job: generate the tiny world, submit four filters, train and evaluate each, show the board."""
    from datacomp.local.demo import run_demo
    from datacomp.local.platform import interrupt_on_sigterm

    interrupt_on_sigterm()
    run_demo(data_dir, port=port, stop=stop, json_file=json_file, pairs=pairs)


@commands.command("demo-byod")
def demo_byod(
    data_dir: DataDir = Path("demo-data"),
    port: Port = 8000,
    stop: Annotated[bool, typer.Option("--exit", help="End when the dataset is scored.")] = False,
    pairs: Annotated[int, typer.Option(min=1024, help="Size of the tiny world.")] = 16_384,
    pictures: Annotated[int, typer.Option(min=64, help="Size of the gallery.")] = 4096,
) -> None:
    """Bring your own data: serve a generated gallery on loopback, hand it in, show it on the byod board."""
    from datacomp.local.demo_byod import run_demo_byod
    from datacomp.local.platform import interrupt_on_sigterm

    interrupt_on_sigterm()
    run_demo_byod(data_dir, port=port, stop=stop, pairs=pairs, pictures=pictures)
