"""The terminal: one console, one look for progress, one way to show what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from datacomp.problems import Problem

console = Console()
errors = Console(stderr=True)


def show_problems(problems: tuple[Problem, ...] | list[Problem]) -> None:
    """Print each problem to standard error: code, what, where, what to do."""
    for problem in problems:
        place = f" [dim]({escape(problem.where)})[/]" if problem.where else ""
        errors.print(f"[bold red]{escape(problem.code)}[/]{place}: {escape(problem.message)}", highlight=False)
        if problem.hint:
            errors.print(f"  [green]hint:[/] {escape(problem.hint)}", highlight=False)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar for work that reports `(what it is doing, share done from 0 to 1)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=1.0)

        def report(what: str, share: float) -> None:
            bar.update(task, description=f"{title}: {escape(what)}", completed=share)

        yield report
        bar.update(task, description=title, completed=1.0)


@contextmanager
def transfer(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar for bytes going out or coming in; reports `(bytes done, bytes in all)`."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, _: bar.update(task, completed=done)


@contextmanager
def counting(title: str, unit: str) -> Iterator[Callable[[str, float, float], None]]:
    """A bar for countable work; reports `(what, done, total)`."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + unit),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=errors) as bar:
        task = bar.add_task(title, total=1)
        yield lambda what, done, total: bar.update(
            task, description=f"{title}: {escape(what)}", completed=done, total=total
        )
