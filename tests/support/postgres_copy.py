"""The content of a PostgreSQL database, kept beside it so that it can be put back after whatever a test did."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from own_servers import own_postgres
from servers import POSTGRES, postgres_schema

from datacomp_server.database import Database
from datacomp_server.models import Base


@contextmanager
def any_postgres() -> Iterator[str]:
    """URL of an empty database: in the server that `DATACOMP_TEST_POSTGRES` names, or in one of its own."""
    if os.environ.get(POSTGRES):
        with postgres_schema() as url:
            yield url
    else:
        with own_postgres() as server:
            yield server.url


class PostgresCopy:
    """Every row of every table as it was."""

    def __init__(self, database: Database) -> None:
        self._engine = database.engine
        self._names = [table.name for table in Base.metadata.sorted_tables]
        with self._engine.begin() as connection:
            for name in self._names:
                connection.execute(sa.text(f"create table kept_{name} as select * from {name}"))

    def restore(self) -> None:
        """Put all rows back, in one transaction."""
        with self._engine.begin() as connection:
            # Events are append-only: nobody may delete one.
            connection.execute(sa.text(f"truncate {', '.join(self._names)}"))
            for name in self._names:
                connection.execute(sa.text(f"insert into {name} select * from kept_{name}"))
