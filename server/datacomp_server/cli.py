"""The commands of the server extra: `server`, `dispatcher`, `migrate` and `admin`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from datacomp.console import console
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.reset import PasswordReset
from datacomp_server.accounts.service import AccountService
from datacomp_server.audit.service import Act, Audit
from datacomp_server.boards.config import read_boards
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.leaderboard.commands import add_rank_commands
from datacomp_server.leaderboard.rescore_command import add_rescore_command
from datacomp_server.operation.console import add_operation_commands
from datacomp_server.operation.logs import log_as_set
from datacomp_server.published.console import add_published_commands
from datacomp_server.published.service import load_table
from datacomp_server.runs.commands import add_run_commands
from datacomp_server.settings import Settings, load_settings
from datacomp_server.startup import open_platform

commands = typer.Typer()
admin = typer.Typer(help="For organisers at the server's own console.", no_args_is_help=True)
commands.add_typer(admin, name="admin")
DRAIN_SECONDS = 3
"""How long open event streams may hold up the end of the server."""
AccountName = Annotated[str, typer.Argument(help="Name of the account.")]


@commands.command()
def server(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default DATACOMP_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; default DATACOMP_PORT or 8000.")] = None,
) -> None:
    """Serve the API and the pages (settings: DATACOMP_MODE, DATACOMP_DATABASE_URL, DATACOMP_BOARDS_FILE, ...)."""
    import uvicorn

    from datacomp_server.app import create_app
    from datacomp_server.startup import start

    settings = load_settings(host=host, port=port)
    log_as_set(sys.stderr, settings)
    # Once before the server's own start, so that what is wrong is told as a list of problems and not as a trace.
    start(settings).database.close()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=DRAIN_SECONDS,
    )


@commands.command()
def dispatcher() -> None:
    """Ring workers for queued runs, hand on runs whose worker fell silent, cancel stale uploads."""
    from datacomp_server.runs.dispatcher import Dispatcher
    from datacomp_server.runs.doorbell import Doorbell

    settings = load_settings()
    log_as_set(sys.stderr, settings)
    platform = open_platform(settings)
    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, on_signal)
    with Doorbell(settings) as doorbell:
        Dispatcher(platform.database, settings, platform.storage, doorbell).run(stop)
    platform.database.close()


@commands.command()
def migrate() -> None:
    """Bring the database's schema to its newest version."""
    from datacomp_server import schema

    database = Database(load_settings().database_url)
    before, after = schema.migrate(database)
    database.close()
    if before == after:
        console.print(f"the schema is at its newest version, {after}")
    else:
        console.print(f"the schema went from {before or 'nothing'} to {after}")


@admin.command("create-user")
def create_user(
    name: AccountName,
    role: Annotated[Role, typer.Option(help="What the account is for.")] = Role.PARTICIPANT,
    email: Annotated[str | None, typer.Option(help="For the organisers to reach its owner.")] = None,
    password: Annotated[
        bool, typer.Option("--password/--no-password", help="Ask for a password; without one there are only tokens.")
    ] = False,
) -> None:
    """Make an account of any role and print its first token."""
    secret = typer.prompt("Password", hide_input=True, confirmation_prompt=True) if password else None
    with _accounts() as accounts:
        accounts.create_user(name, role, password=secret, email=email)
        token = accounts.token_for(name, "console").token
    print(token)  # noqa: T201


@admin.command("set-role")
def set_role(name: AccountName, role: Annotated[Role, typer.Argument(help="Its new role.")]) -> None:
    """Change what an account is for."""
    with _accounts() as accounts:
        accounts.set_role(name, role)
    console.print(f"{name} is now {role.value}")


@admin.command("new-token")
def new_token(
    name: AccountName, label: Annotated[str, typer.Option(help="What the token is for.")] = "console"
) -> None:
    """Print a new API token of an account: the only time it is shown."""
    with _accounts() as accounts:
        token = accounts.token_for(name, label).token
    print(token)  # noqa: T201


@admin.command("reset-password")
def reset_password(name: AccountName) -> None:
    """Print a link by which an account's owner chooses a new password, once and within an hour."""
    settings = load_settings()
    with _database(settings) as database:
        link = PasswordReset(database, settings).link_for(name)
    print(link)  # noqa: T201


@admin.command("boards")
def apply_boards(
    file: Annotated[Path | None, typer.Argument(help="TOML description; default DATACOMP_BOARDS_FILE.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only say what is wrong with it.")] = False,
) -> None:
    """Apply a description of boards, as a restart of the server would."""
    settings = load_settings(boards_file=file)
    if settings.boards_file is None:
        raise typer.BadParameter("give a file, or set DATACOMP_BOARDS_FILE")
    plans = read_boards(settings.boards_file)
    if not check:
        with _database(settings) as database, database.write() as session:
            BoardService(session).apply(plans)
            load_table(session, settings)
            Audit(session, settings).note(
                Act.BOARDS_APPLIED, actor=None, about=settings.boards_file.name, count=len(plans)
            )
    verb = "checked" if check else "applied"
    console.print(f"{verb} {len(plans)} boards: {', '.join(plan.config.name for plan in plans)}")


@contextmanager
def _database(settings: Settings) -> Iterator[Database]:
    platform = open_platform(settings)
    try:
        yield platform.database
    finally:
        platform.database.close()


@contextmanager
def _accounts() -> Iterator[AccountService]:
    settings = load_settings()
    with _database(settings) as database, database.write() as session:
        yield AccountService(session, settings)


add_operation_commands(admin, _database)
add_run_commands(admin, _database)
add_rank_commands(admin, _database)
add_published_commands(admin, _database)
add_rescore_command(admin, _database)
