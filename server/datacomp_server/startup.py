"""What happens before the first request: schema, boards, provisioned accounts."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from datacomp_server import schema
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import AccountService
from datacomp_server.boards.config import read_boards
from datacomp_server.boards.service import BoardService
from datacomp_server.database import Database
from datacomp_server.published.service import load_table
from datacomp_server.settings import Mode, Settings
from datacomp_server.storage import Storage

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Platform:
    """Database and storage, ready for use."""

    database: Database
    storage: Storage


def open_platform(settings: Settings) -> Platform:
    """Database and storage; `PlatformFault` unless the schema is at its newest version."""
    platform = Platform(Database(settings.database_url), Storage(settings.storage_url))
    try:
        schema.require_newest(platform.database)
    except BaseException:
        platform.database.close()
        raise
    return platform


def start(settings: Settings) -> Platform:
    """Everything that the server needs before it serves.

    The embedded server migrates its database by itself. In production that is a step of its own (`datacomp migrate`),
    because several servers start at once and an operator wants to have made a backup.
    """
    if settings.mode is Mode.EMBEDDED:
        database = Database(settings.database_url)
        before, after = schema.migrate(database)
        database.close()
        if before != after:
            log.info("database schema: from %s to %s", before or "nothing", after)
    platform = open_platform(settings)
    try:
        apply_settings(platform.database, settings)
    except BaseException:
        platform.database.close()
        raise
    return platform


def apply_settings(database: Database, settings: Settings) -> None:
    """Make boards and accounts as the settings say. Idempotent; `BadInput` lists all that is wrong with the boards."""
    plans = read_boards(settings.boards_file) if settings.boards_file is not None else None
    with database.write() as session:
        if plans is not None:
            BoardService(session).apply(plans)
            load_table(session, settings)
        accounts = AccountService(session, settings)
        for name, role, secret in (
            ("worker", Role.WORKER, settings.worker_token),
            ("organiser", Role.ORGANISER, settings.organiser_token),
        ):
            if secret is not None:
                accounts.provision(name, role, secret.get_secret_value(), "provisioned")
