"""A server that does as always, but for what makes it slow to guess passwords and safe from a loss of power."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from argon2 import PasswordHasher

from datacomp_server import database
from datacomp_server.accounts import security


@contextmanager
def quick_server() -> Iterator[None]:
    """Hash passwords cheaply and, in SQLite, do not wait for the disk, until the end of this."""
    configure = database._configure_sqlite

    def configure_quickly(connection: sqlite3.Connection, record: Any) -> None:
        configure(connection, record)
        connection.execute("PRAGMA synchronous=OFF").close()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(security, "_hasher", PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
        patch.setattr(database, "_configure_sqlite", configure_quickly)
        yield
