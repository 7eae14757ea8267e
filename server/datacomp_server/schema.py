"""The database's schema: brought to its newest version, or compared with it (Alembic)."""

from __future__ import annotations

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.orm import Session

from datacomp.problems import PlatformFault
from datacomp_server.database import Database, database_faults, hold_lock
from datacomp_server.resources import migrations_dir


def newest() -> str | None:
    """Revision of the newest migration."""
    return ScriptDirectory.from_config(_config()).get_current_head()


def present(connection: Connection) -> str | None:
    """Revision that a database has; None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def migrate(database: Database) -> tuple[str | None, str | None]:
    """Bring the schema to its newest version; returns the revision before and after.

    All in one transaction, one process at a time: a migration that fails leaves everything as it was.
    """
    with database_faults(database.engine), database.engine.begin() as connection:
        hold_lock(Session(connection), "schema")
        before = present(connection)
        command.upgrade(_config(connection), "head")
        return before, present(connection)


def require_newest(database: Database) -> None:
    """`PlatformFault` unless the schema is at its newest version."""
    with database_faults(database.engine), database.read() as session:
        found = present(session.connection())
    wanted = newest()
    if found != wanted:
        raise PlatformFault.of(
            "schema-outdated",
            f"the database's schema is at {found or 'nothing yet'}, this version needs {wanted}",
            where="database",
            hint="run `datacomp migrate`",
        )


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(migrations_dir()).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
