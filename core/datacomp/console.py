"""The terminal: one console, one look for progress, one way to show what is wrong.

Rich is imported when there is something for it to show: it takes longer than some commands.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from datacomp.problems import Problem

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    console: Console
    errors: Console

PATIENCE = 1.5
"""Seconds of countable work before its bar shows."""


def __getattr__(name: str) -> Any:
    """`console` and `errors`, for standard output and standard error."""
    if name not in {"console", "errors"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from rich.console import Console

    return globals().setdefault(name, Console(stderr=name == "errors"))


def _errors() -> Console:
    from datacomp.console import errors

    return errors


def say(*parts: str | tuple[str, str]) -> None:
    """Print a line. A part `(text, style)` is styled where a terminal shows it."""
    if sys.stdout.isatty():
        from rich.text import Text

        from datacomp.console import console

        console.print(Text.assemble(*parts), soft_wrap=True)
        return
    print("".join(part if isinstance(part, str) else part[0] for part in parts))  # noqa: T201


def show_problems(problems: tuple[Problem, ...] | list[Problem]) -> None:
    """Print each problem to standard error: code, what, where, what to do."""
    from rich.markup import escape

    errors = _errors()
    for problem in problems:
        place = f" [dim]({escape(problem.where)})[/]" if problem.where else ""
        errors.print(f"[bold red]{escape(problem.code)}[/]{place}: {escape(problem.message)}", highlight=False)
        if problem.hint:
            errors.print(f"  [green]hint:[/] {escape(problem.hint)}", highlight=False)


@contextmanager
def steps(title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar for work that reports `(what it is doing, share done from 0 to 1)`."""
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=_errors()) as bar:
        task = bar.add_task(title, total=1.0)

        def report(what: str, share: float) -> None:
            bar.update(task, description=f"{title}: {escape(what)}", completed=share)

        yield report
        bar.update(task, description=title, completed=1.0)


@contextmanager
def transfer(title: str, total: int) -> Iterator[Callable[[int, int], None]]:
    """A bar for bytes going out or coming in, where a terminal shows it; reports `(bytes done, bytes in all)`."""
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=_errors(), disable=not _errors().is_terminal) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done, size: bar.update(task, completed=done, total=size)


@contextmanager
def counting(title: str, unit: str) -> Iterator[Callable[[str, float, float], None]]:
    """A bar for countable work; reports `(what, done, total)`. What is done in a moment shows none, nor does a file."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    bar = _Patient(title, unit)
    timer = threading.Timer(PATIENCE, bar.show)
    timer.daemon = True
    timer.start()
    try:
        yield bar.report
    finally:
        timer.cancel()
        bar.close()


class _Patient:
    """A bar that is shown by a timer; reports before and after come from the thread that works."""

    def __init__(self, title: str, unit: str) -> None:
        self.title, self.unit = title, unit
        self._lock = threading.Lock()
        self._latest: tuple[str, float, float] | None = None
        self._bar: Progress | None = None
        self._closed = False

    def report(self, what: str, done: float, total: float) -> None:
        with self._lock:
            self._latest = (what, done, total)
            self._update()

    def show(self) -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} " + self.unit),
            TimeElapsedColumn(),
        )
        with self._lock:
            if not self._closed:
                self._bar = Progress(*columns, console=_errors())
                self._bar.add_task(self.title, total=1)
                self._update()
                self._bar.start()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._bar is not None:
                self._bar.stop()

    def _update(self) -> None:
        if self._bar is not None and self._latest is not None:
            from rich.markup import escape

            what, done, total = self._latest
            task = self._bar.task_ids[0]
            self._bar.update(task, description=f"{self.title}: {escape(what)}", completed=done, total=total)
