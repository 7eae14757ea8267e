"""The command line, `datacomp`. The participant's commands are here; server and worker plug in theirs."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import typer

PLUGINS = "datacomp.commands"
"""Entry-point group: each names a Typer app `commands` and may offer `pool_commands` beside it."""


LIGHT = (
    *(("check",), ("filter",), ("reshard",), ("subset",)),
    *(("pool", "ingest"), ("pool", "info"), ("pool", "add-column")),
)
"""Commands over a pool at hand: they start without the client and the extras, which take longer than they do."""
NO_SPINNING = {"OPENBLAS_THREAD_TIMEOUT": "4"}
"""NumPy's idle threads sleep at once: by default they spin 50 ms of processor time away whenever it is imported."""


def build() -> typer.Typer:
    """The whole command line, with the commands of every installed extra."""
    from importlib.metadata import entry_points

    import typer

    from datacomp.cli import account, data, local, submissions, subsets, suite, team, trends

    app = _app()
    pool = typer.Typer(help="Make, ingest and look at candidate pools.", no_args_is_help=True)
    for module in (account, submissions, data, subsets, suite, local):
        app.registered_commands.extend(module.commands.registered_commands)
    pool.registered_commands.extend(data.pool_commands.registered_commands)
    for point in entry_points(group=PLUGINS):
        try:
            plugin = point.load()
        except ModuleNotFoundError:
            continue  # the extra that brings this command is not installed
        app.registered_commands.extend(plugin.registered_commands)
        app.registered_groups.extend(plugin.registered_groups)
        beside = getattr(sys.modules[point.module], "pool_commands", typer.Typer())
        pool.registered_commands.extend(beside.registered_commands)
    app.add_typer(pool, name="pool")
    app.add_typer(subsets.subset_commands, name="subset")
    app.add_typer(suite.suite_commands, name="suite")
    app.add_typer(trends.commands, name="scaling")
    app.add_typer(account.account_commands, name="account")
    app.add_typer(team.team_commands, name="team")
    return app


def build_light() -> typer.Typer:
    """The commands of `LIGHT` alone."""
    from datacomp.cli import data, subsets

    app = _app()
    app.registered_commands.extend(data.commands.registered_commands)
    app.registered_commands.extend(subsets.commands.registered_commands)
    app.add_typer(data.pool_commands, name="pool")
    app.add_typer(subsets.subset_commands, name="subset")
    return app


def _app() -> typer.Typer:
    import typer

    return typer.Typer(
        help="A dataset-filtering competition: choose the data, the platform trains and evaluates.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def _leave() -> None:
    """End a quick command without taking the interpreter apart, which takes a tenth of its time."""
    import atexit
    import threading

    if threading.active_count() == 1:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 130 interrupted."""
    from datacomp.cli import quick
    from datacomp.problems import DatacompError

    try:
        light = any(tuple(sys.argv[1 : len(words) + 1]) == words for words in LIGHT)
        if light:
            os.environ |= {name: os.environ.get(name, value) for name, value in NO_SPINNING.items()}
        call = quick.read(sys.argv[1:])
        if call is not None:
            call()
            _leave()
        else:
            (build_light() if light else build())()
    except DatacompError as error:
        from datacomp.console import show_problems

        show_problems(error.problems)
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        sys.exit(130)
