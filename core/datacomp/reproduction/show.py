"""A comparison in the terminal: what differs of versions and hardware first, then what came out."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from datacomp.reproduction.compare import Comparison, Line

VERDICTS = {True: "[green]agrees[/]", False: "[bold red]differs[/]", None: "[dim]not judged[/]"}
MOST_TASKS = 8
"""Tasks shown, those that lie furthest apart; JSON has all."""


def show_comparison(comparison: Comparison, console: Console) -> None:
    """Print it."""
    if comparison.differences:
        console.print(_differences(comparison))
    else:
        console.print("versions and hardware are those of the manifest")
    judged = [line for line in comparison.lines if not line.what.startswith("task ")]
    tasks = [line for line in comparison.lines if line.what.startswith("task ") and line.difference]
    tasks.sort(key=lambda line: -abs(line.difference or 0.0))
    table = Table("what", "seed", "manifest", "here", "difference", "allowed", "", "note")
    for line in [*judged, *tasks[:MOST_TASKS]]:
        table.add_row(*_row(line))
    console.print(table)
    if len(tasks) > MOST_TASKS:
        console.print(f"{len(tasks) - MOST_TASKS} further tasks differ by less; --json shows all")
    if comparison.tolerance is not None:
        console.print(f"tolerance: {escape(comparison.tolerance.source)}", highlight=False)
    word = "[bold green]reproduced[/]" if comparison.reproduced else "[bold red]not reproduced[/]"
    console.print(f"submission {escape(comparison.submission)}: {word}")


def _differences(comparison: Comparison) -> Table:
    table = Table("version or hardware", "manifest", "here", "in stages", title="Other than in the manifest")
    for one in comparison.differences:
        table.add_row(escape(one.name), escape(one.theirs), escape(one.ours), ", ".join(one.stages))
    return table


def _row(line: Line) -> tuple[str, ...]:
    seed = "" if line.seed is None else str(line.seed)
    apart = "" if line.difference is None else f"{line.difference:+.5f}"
    allowed = "" if line.allowed is None else f"{line.allowed:.4f}"
    values = (_shown(line.theirs), _shown(line.ours))
    return (escape(line.what), seed, *values, apart, allowed, VERDICTS[line.agrees], escape(line.note))


def _shown(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value[:12] if isinstance(value, str) else f"{value:.5f}"
