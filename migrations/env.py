"""Alembic's environment. The server hands in its connection; Alembic's own command line uses the settings' database."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy.engine import Connection

from datacomp_server.database import CleanText, Database, UtcDateTime
from datacomp_server.models import Base
from datacomp_server.settings import load_settings


def render_item(kind: str, item: Any, autogenerate: Any) -> str | bool:
    """Migrations name what the database stores, not our Python types: those may change, a migration never does."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, CleanText):
        return "sa.Text()"
    if kind == "type" and type(item).__name__ == "Enum":
        return f"sa.String(length={item.length})"
    return False


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
        transactional_ddl=True,
        compare_type=True,
        render_item=render_item,
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    database = Database(load_settings().database_url)
    with database.engine.begin() as made:
        run(made)
    database.close()
