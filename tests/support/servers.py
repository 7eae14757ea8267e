"""The servers that tests use where they are given: PostgreSQL and Redis, named by environment variables."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa

POSTGRES, REDIS = "DATACOMP_TEST_POSTGRES", "DATACOMP_TEST_REDIS"


def needed(variable: str, what: str) -> str:
    """The variable's value; without it the test is skipped, or fails where everything must run."""
    value = os.environ.get(variable)
    if value:
        return value
    if os.environ.get("CI") == "true":
        pytest.fail(f"{variable} is not set: continuous integration must test with {what}")
    pytest.skip(f"{variable} is not set: not tested with {what}")


@contextmanager
def postgres_schema() -> Iterator[str]:
    """URL of an empty schema of our own in the PostgreSQL database for tests."""
    base = needed(POSTGRES, "PostgreSQL")
    name = f"test_{os.getpid()}_{time.time_ns()}"
    admin = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(sa.schema.CreateSchema(name))
    try:
        yield f"{base}{'&' if '?' in base else '?'}options=-csearch_path%3D{name}"
    finally:
        with admin.connect() as connection:
            connection.execute(sa.schema.DropSchema(name, cascade=True))
        admin.dispose()
