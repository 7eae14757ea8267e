"""How receipts and leaderboards look in a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from datacomp.client import Client
from datacomp.console import console, errors
from datacomp.messages import (
    Failure,
    LeaderboardOut,
    LeaderboardRow,
    Progress,
    QuotaNote,
    QuotaOut,
    RunOut,
    ScoreOut,
    SubmissionOut,
)
from datacomp.problems import PlatformFault

POLL_SECONDS = 0.5
WIDE = 110
"""Columns of a terminal from which on a leaderboard shows differences to the best baseline."""
STATE_STYLE = {"done": "green", "running": "cyan", "failed": "red", "cancelled": "yellow"}
FINAL_STYLE = {"scored": "green", "rejected": "red", "failed": "red"}


def watch(client: Client, submission: str) -> SubmissionOut:
    """Show a submission live until it is final; survives a server that is away for a while."""
    receipt = client.submission(submission)
    with Live(receipt_panel(receipt), console=console, refresh_per_second=4) as live:
        while not receipt.final:
            time.sleep(POLL_SECONDS)
            try:
                receipt = client.submission(submission)
            except PlatformFault as fault:
                errors.print(f"[yellow]{escape(str(fault))}[/]; trying again")
                continue
            live.update(receipt_panel(receipt))
    return receipt


def receipt_panel(receipt: SubmissionOut) -> RenderableType:
    """A receipt: head, stages, then the failure or the scores."""
    style = FINAL_STYLE.get(receipt.state, "cyan")
    head = Text.assemble(
        (receipt.method, "bold"),
        f" by {receipt.team or receipt.participant} on {receipt.board}: ",
        (receipt.state, style),
    )
    parts: list[RenderableType] = [head, _stages(receipt.runs)]
    if receipt.rehearsal:
        parts.insert(1, Text("rehearsal: a few small steps, never ranked", "yellow"))
    if receipt.subset_size is not None:
        parts.append(Text(f"subset: {receipt.subset_size:,} samples"))
    if receipt.failure:
        parts.append(_failure(receipt.failure, refunded=receipt.quota_refunded))
    if receipt.quota and receipt.quota.now:
        parts.append(Text(_quota(receipt.quota, receipt.quota.now), "dim"))
    if receipt.score:
        parts.append(_scores(receipt.score))
    parts.append(Text(receipt.url, "dim"))
    return Panel(Group(*parts), title=receipt.id, title_align="left")


def _stages(runs: Iterable[RunOut]) -> Table:
    table = Table(box=None, padding=(0, 1))
    for column in ("stage", "state", "time", "progress", "worker"):
        table.add_column(column)
    for run in runs:
        state = Text(run.state.value, STATE_STYLE.get(run.state.value, "dim"))
        note: RenderableType = (
            _bar(run.progress) if run.state == "running" and run.progress else Text(run.waiting_note, "yellow")
        )
        if run.reused_from:
            note = Text(f"taken over from {run.reused_from}", "dim")
        worker = f"{run.worker or ''}{f' (attempt {run.attempts})' if run.attempts > 1 else ''}"
        table.add_row(run.stage.value, state, _duration(run), note, worker)
    return table


def _duration(run: RunOut) -> str:
    if run.started_at is None:
        return ""
    end = run.finished_at.timestamp() if run.finished_at else time.time()
    return f"{max(end - run.started_at.timestamp(), 0):.1f} s"


def _bar(progress: Progress) -> RenderableType:
    figures = f"{progress.done:,.0f}" + (f"/{progress.total:,.0f}" if progress.total else "") + f" {progress.unit}"
    if progress.rate:
        figures += f", {progress.rate:,.0f}/s"
    figures += "".join(f", {name} {value:.3g}" for name, value in progress.values.items())
    row = Table.grid(padding=(0, 1))
    row.add_row(
        ProgressBar(total=progress.total or None, completed=progress.done, width=24), f"{figures} {progress.note}"
    )
    return row


def _quota(note: QuotaNote, now: QuotaOut) -> str:
    """What a submission costs, why, and what is left."""
    why = f" ({note.reason})" if note.reason and note.reason != note.state else ""
    counts = ((now.day, "today"), (now.total, "in all"), (now.concurrent, "at once"))
    left = [f"{count.left} of {count.limit} {what}" for count, what in counts if count.limit is not None]
    return f"quota: {note.state}{why}; left: {', '.join(left)}"


def _failure(failure: Failure, *, refunded: bool) -> RenderableType:
    lines: list[RenderableType] = []
    for problem in failure.problems:
        place = f" ({problem.where})" if problem.where else ""
        lines.append(Text.assemble((problem.code, "bold red"), f"{place}: {problem.message}"))
        if problem.hint:
            lines.append(Text.assemble(("hint: ", "green"), problem.hint))
    if failure.log_tail:
        lines.append(Panel(Text(failure.log_tail[-2000:]), title="end of the log", title_align="left"))
    lines.append(
        Text("the quota was refunded" if refunded else f"blame: {failure.blame.value}; the quota is spent", "dim")
    )
    return Group(*lines)


def _scores(score: ScoreOut) -> Table:
    table = Table(title="scores", title_justify="left", box=None, padding=(0, 1))
    for column in ("task", "group", "metric", "score", "chance", "items"):
        table.add_column(column, justify="right" if column in {"score", "chance", "items"} else "left")
    for task in score.tasks:
        table.add_row(
            task.name, task.group, task.metric or "", _number(task.value), _number(task.chance), f"{task.n:,}"
        )
    table.add_section()
    table.add_row("[bold]average", "", "", f"[bold]{_number(score.average)}", "", "")
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def leaderboard_table(board: LeaderboardOut, *, all_tasks: bool = False) -> Table:
    """The leaderboard as a table, with the ranges and intervals that its page shows; a terminal of `WIDE` columns has
    the differences to the best baseline too, one with room the groups, and `all_tasks` adds a column per task."""
    wide = all_tasks or console.width >= WIDE
    groups = sorted({group for row in board.rows for group in row.groups})
    if not all_tasks and console.width < WIDE + sum(max(len(group), 5) + 3 for group in groups):
        groups = []
    table = Table(title=f"{board.title}: {board.rank_by}", title_justify="left", caption=_says(board))
    table.caption_justify = "left"
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column("method", overflow="fold", min_width=14)
    table.add_column("by", overflow="fold", min_width=6)
    numbers = ["subset", "score", "95% interval", *(["to baseline"] if wide else [])]
    for column in [*numbers, *groups, *(board.tasks if all_tasks else [])]:
        table.add_column(column, justify="right", no_wrap=True)
    if board.under_way:
        table.add_column("status", no_wrap=True)
    for row in (*board.rows, *board.under_way):
        figures = [f"{row.subset_size:,}" if row.subset_size is not None else "", _number(row.score)]
        figures += [_interval(row), *([_delta(row.delta_to_baseline)] if wide else [])]
        figures += [_number(row.groups.get(group)) for group in groups]
        figures += [_number(row.tasks.get(task)) for task in board.tasks] if all_tasks else []
        method = escape(row.method) + (" [dim](baseline)[/]" if row.baseline else "")
        status = [row.status] if board.under_way else []
        table.add_row(_place(row), method, escape(row.team or row.participant), *figures, *status)
    if not board.rows and not board.under_way:
        table.add_row("", "[dim]no entry yet[/]")
    return table


def _place(row: LeaderboardRow) -> str:
    """Between which ranks it may stand; a dash for what has none, dots until its range is worked out."""
    if row.rank_lo is None or row.rank_hi is None:
        return "-" if row.rank is None else "..."
    return str(row.rank_lo) if row.rank_lo == row.rank_hi else f"{row.rank_lo}-{row.rank_hi}"


def _interval(row: LeaderboardRow) -> str:
    return "" if row.score_lo is None or row.score_hi is None else f"{row.score_lo:.3f}-{row.score_hi:.3f}"


def _delta(value: float | None) -> str:
    return "" if value is None else f"{value:+.3f}"


def _says(board: LeaderboardOut) -> str | None:
    """What stands under the table."""
    shown = len(board.rows)
    parts = [f"{shown:,} of {board.total:,} entries"] if shown < board.total else []
    if board.rows and board.ranks_pending:
        parts.append("ranks follow: scores have changed since they were worked out")
    named = len(board.under_way)
    if board.under_way_total > named:
        parts.append(f"{named:,} of {board.under_way_total:,} under way")
    return "; ".join(parts) or None
