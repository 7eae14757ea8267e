"""Migrations: equal to the models, all or nothing, safe when several processes start at once."""

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from server_site import running
from servers import POSTGRES, needed

from datacomp.problems import PlatformFault
from datacomp_server import schema
from datacomp_server.database import Database
from datacomp_server.models import Base
from datacomp_server.settings import Mode, Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without any table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'new' / 'empty.sqlite3'}")
        yield database
        database.close()
        return
    base = needed(POSTGRES, "PostgreSQL")
    name = f"test_empty_{os.getpid()}_{time.time_ns()}"
    admin = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    database = Database(f"{base}{'&' if '?' in base else '?'}options=-csearch_path%3D{name}")
    yield database
    database.close()
    with admin.connect() as connection:
        connection.execute(sa.schema.DropSchema(name, cascade=True))
    admin.dispose()


def tables(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return set(sa.inspect(connection).get_table_names())


def test_migrations_give_what_the_models_say(empty: Database) -> None:
    assert schema.migrate(empty) == (None, schema.newest())
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    assert tables(empty) == {*Base.metadata.tables, "alembic_version"}


def test_every_constraint_has_the_name_that_the_convention_gives_it(empty: Database) -> None:
    schema.migrate(empty)
    with empty.engine.connect() as connection:
        inspector = sa.inspect(connection)
        for name, table in Base.metadata.tables.items():
            assert inspector.get_pk_constraint(name)["name"] == f"pk_{name}"
            keys = {key["constrained_columns"][0]: key["name"] for key in inspector.get_foreign_keys(name)}
            for key in table.foreign_key_constraints:
                # Of a column that was added later SQLite's inspector tells that it refers to a table, and no name.
                added = empty.is_sqlite and keys[key.column_keys[0]] is None
                assert added or keys[key.column_keys[0]] == key.name
            assert len(keys) == len(table.foreign_key_constraints)


def test_migrating_twice_changes_nothing_and_downgrading_leaves_nothing(empty: Database) -> None:
    schema.migrate(empty)
    assert schema.migrate(empty) == (schema.newest(), schema.newest())
    with empty.engine.begin() as connection:
        command.downgrade(schema._config(connection), "base")
    assert tables(empty) <= {"alembic_version"}


def test_several_processes_may_start_at_once(empty: Database) -> None:
    others = [Database(empty.engine.url.render_as_string(hide_password=False)) for _ in range(3)]
    try:
        with ThreadPoolExecutor(3) as pool:
            results = list(pool.map(schema.migrate, others))
    finally:
        for other in others:
            other.close()
    assert sorted(before or "" for before, _ in results) == ["", schema.newest(), schema.newest()]


def test_a_server_in_production_refuses_an_old_schema(empty: Database, make_settings: Callable[..., Settings]) -> None:
    secret = "a-long-random-secret-of-the-test"
    settings = make_settings(
        mode=Mode.PRODUCTION,
        database_url=empty.engine.url.render_as_string(hide_password=False),
        secret_key=secret,
        worker_token=f"worker-{secret}",
        organiser_token=f"organiser-{secret}",
    )
    with pytest.raises(PlatformFault, match="datacomp migrate"), running(settings):
        pass
    schema.migrate(empty)
    with running(settings) as site:
        assert site.http.get("/readyz").status_code == 200


def test_rows_of_the_first_schema_survive_every_migration(empty: Database) -> None:
    """SQLite copies a table to change it, and everything that refers to it must survive that too."""
    with empty.engine.begin() as connection:
        command.upgrade(schema._config(connection), "0001")
        inspector = sa.inspect(connection)
        for table, given in OLD_ROWS.items():
            columns = {column["name"]: column for column in inspector.get_columns(table)}
            row = {name: _value(column) for name, column in columns.items() if not column["nullable"]} | given
            names = ", ".join(row)
            connection.execute(
                sa.text(f"insert into {table} ({names}) values ({', '.join(f':{name}' for name in row)})"), row
            )
    schema.migrate(empty)
    with empty.engine.connect() as connection:
        for table, row in OLD_ROWS.items():
            conditions = " and ".join(f"{name} = :{name}" for name in row)
            count = sa.text(f"select count(*) from {table} where {conditions}")
            assert connection.execute(count, row).scalar_one() == 1, table
        assert connection.execute(sa.text("select public_average from scores")).scalar_one() == 0.5


OLD_ROWS = {
    "suites": {"digest": "d", "name": "mini@1"},
    "users": {"id": "u", "name": "ada", "name_key": "ada", "role": "participant"},
    "boards": {"name": "b", "suite_digest": "d", "track": "filtering"},
    "submissions": {"id": "s", "board_name": "b", "user_id": "u", "kind": "uids", "state": "scored"},
    "runs": {"id": "r", "submission_id": "s", "stage": "validate", "state": "done"},
    "attempts": {"id": "a", "run_id": "r", "state": "done"},
    "stored_files": {"id": "f", "submission_id": "s", "run_id": "r", "attempt_id": "a"},
    "quota_entries": {"submission_id": "s", "user_id": "u", "board_name": "b", "state": "charged"},
    "scores": {"submission_id": "s", "board_name": "b", "average": 0.5},
    "api_tokens": {"id": "t", "user_id": "u", "digest": "e"},
    "events": {"id": 1, "submission_id": "s"},
}


def _value(column: Any) -> object:
    """Something that fits a column."""
    kind = column["type"]
    if isinstance(kind, sa.JSON):
        return "{}"
    if isinstance(kind, sa.DateTime):
        return "2026-01-01 00:00:00+00:00"
    if isinstance(kind, sa.Boolean):
        return False
    return 0 if isinstance(kind, sa.Integer | sa.Float) else "2026-01-01" if isinstance(kind, sa.Date) else "x"
