"""`suite list`, `suite download`, `suite check`, and `rescore`."""

from __future__ import annotations

import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from datacomp.console import console, counting, show_problems

commands = typer.Typer()
suite_commands = typer.Typer(help="Evaluation suites and their data.", no_args_is_help=True)
SuiteName = Annotated[str, typer.Option("--suite", help="A suite, as name or name@version, or a JSON file.")]
Tasks = Annotated[list[str] | None, typer.Option("--tasks", help="Only this task, by key; may be given again.")]


@suite_commands.command("list")
def list_suites() -> None:
    """Show the suites that come with the platform."""
    from rich.table import Table

    from datacomp.suite import load_suite

    table = Table("suite", "tasks", "counted", "digest")
    for path in sorted(path.name for path in (files("datacomp") / "suites").iterdir() if path.name.endswith(".json")):
        suite = load_suite(path.removesuffix(".json"))
        table.add_row(suite.id, str(len(suite.tasks)), str(len(suite.counted)), suite.digest[:16])
    console.print(table)


@suite_commands.command()
def download(
    suite: Annotated[str, typer.Argument(help="A suite, as name or name@version.")],
    to: Annotated[Path, typer.Option("--to", help="Folder that the wds_* folders go into.")],
    tasks: Tasks = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the hub or a mirror; default HF_ENDPOINT or huggingface.co.")
    ] = None,
    revision: Annotated[str, typer.Option(help="Branch, tag or commit of the webdatasets.")] = "main",
) -> None:
    """Fetch a suite's data. Interrupted, the same command goes on; what is complete is not fetched again."""
    from datacomp.suite import load_suite
    from datacomp.suite_data import download_suite
    from datacomp.suite_data.sources import HUB

    address = (endpoint or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    wanted = load_suite(suite)
    with counting("download", "bytes") as report:
        fetched = download_suite(wanted, to, tasks=tasks or (), endpoint=address, revision=revision, report=report)
    console.print(f"{len(fetched)} tasks of {wanted.id} fetched into {to}; the others were complete", highlight=False)
    console.print(f"check them: datacomp suite check {to} --suite {wanted.id}", highlight=False)


@suite_commands.command()
def check(
    directory: Annotated[Path, typer.Argument(help="Folder of the wds_* folders.")],
    suite: SuiteName = "datacomp-38",
    tasks: Tasks = None,
    digests: Annotated[bool, typer.Option("--digests", help="Compare all content with what was fetched.")] = False,
) -> None:
    """Say everything that is missing or wrong in a suite's data. Exit code 1 if anything is."""
    from datacomp.suite import load_suite
    from datacomp.suite_data import check_suite

    wanted = load_suite(suite)
    if tasks:
        wanted = wanted.model_copy(update={"tasks": tuple(task for task in wanted.tasks if task.key in tasks)})
    with counting("check", "tasks") as report:
        problems = check_suite(wanted, directory, digests=digests, report=report)
    if problems:
        show_problems(problems)
        raise typer.Exit(1)
    console.print(f"[green]good[/]: {len(wanted.tasks)} tasks of {wanted.id} are complete")


@commands.command("rescore")
def rescore_records(
    records: Annotated[Path, typer.Argument(help="A records.parquet, or a folder with one for each seed.")],
    suite: SuiteName,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute scores from evaluation records: nothing but records and suite decides, as on the server."""
    from rich.table import Table

    from datacomp.rescoring import rescore
    from datacomp.suite import load_suite

    wanted = load_suite(suite)
    found = rescore(records, wanted)
    if as_json:
        print(json.dumps(found.to_json(), indent=2))  # noqa: T201
        return
    table = Table("task", "metric", "items", "value")
    for task in wanted.tasks:
        value, items = found.tasks[task.key], found.files[0].items[task.key]
        table.add_row(task.name, task.metric or "", f"{items:,}", "-" if value is None else f"{value:.5f}")
        for name, told in found.files[0].details.get(task.key, {}).items() if len(found.files) == 1 else ():
            table.add_row(f"  {name}", "", "", f"{told:.5f}", style="dim")
    console.print(table)
    means = {"average": found.average, "centred at chance": found.centered, "main": found.main, **found.groups}
    summary = ", ".join(f"{name} {'-' if value is None else f'{value:.5f}'}" for name, value in means.items())
    console.print(f"{wanted.id}, {len(found.files)} files: {summary}", highlight=False)
