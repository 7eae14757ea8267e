"""`datacomp admin rescore`: a board's stored records scored again."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from datacomp.console import console, counting
from datacomp.suite import load_suite
from datacomp_server.audit.service import CONSOLE
from datacomp_server.database import Database
from datacomp_server.leaderboard.rescoring import Change, Plan, apply_rescoring, plan_rescoring
from datacomp_server.settings import Settings, load_settings
from datacomp_server.storage import Storage

OpenDatabase = Callable[[Settings], AbstractContextManager[Database]]


def add_rescore_command(admin: typer.Typer, open_database: OpenDatabase) -> None:
    """Add the command to the organisers' others."""

    @admin.command("rescore")
    def rescore(
        board: Annotated[str, typer.Argument(help="Name of the board.")],
        suite: Annotated[
            str | None, typer.Option(help="A suite, as name@version or a JSON file; default the board's own.")
        ] = None,
        apply: Annotated[
            bool, typer.Option("--apply", help="Write the differences; otherwise only show them.")
        ] = False,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Score all stored records of a board again, show what changes, and write it with --apply.

        With another suite the board is scored under that one from then on: name it in the boards file too, and give it
        to the workers.
        """
        settings = load_settings()
        with open_database(settings) as database:
            with counting("rescore", "submissions") as report:
                wanted = load_suite(suite) if suite else None
                plan = plan_rescoring(database, Storage(settings.storage_url), board, wanted, report)
            if not as_json:
                _show(plan)
            if apply:
                with counting("rescore", "submissions") as report:
                    apply_rescoring(database, settings, plan, actor=CONSOLE, report=report)
        if as_json:
            print(json.dumps(to_json(plan, applied=apply), indent=2))  # noqa: T201
        elif apply:
            console.print(f"{len(plan.differing)} submissions of {board} have their new scores")
        elif not plan.empty:
            console.print("nothing is written yet: the same command with --apply does it")


def to_json(plan: Plan, *, applied: bool) -> dict[str, Any]:
    """The plan for programs."""
    rows = [
        {
            "submission": change.submission,
            "method": change.method,
            "participant": change.participant,
            "before": asdict(change.before),
            "after": asdict(change.after),
            "changes": change.fresh,
        }
        for change in plan.changes
    ]
    suites = {"suite": plan.suite.id, "suite_digest": plan.suite.digest, "suite_before": plan.suite_before}
    return {"board": plan.board, **suites, "applied": applied, "submissions": rows}


def _show(plan: Plan) -> None:
    ranks = sum(change.before.rank != change.after.rank for change in plan.changes)
    console.print(
        f"{plan.board} under {plan.suite.id} (was {plan.suite_before}): {len(plan.differing)} of {len(plan.changes)} "
        f"submissions change, {ranks} ranks"
    )
    table = Table("submission", "method", "by", "average", "", "main", "", "rank", "")
    for change in plan.moved:
        table.add_row(*_row(change))
    if table.row_count:
        console.print(table)


def _row(change: Change) -> tuple[str, ...]:
    both = (change.before, change.after)
    averages, mains = [_told(means.average) for means in both], [_told(means.main) for means in both]
    ranks = ["-" if means.rank is None else str(means.rank) for means in both]
    return (change.submission, escape(change.method), escape(change.participant), *averages, *mains, *ranks)


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"
