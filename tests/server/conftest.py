"""The server on SQLite always, and on PostgreSQL too where `DATACOMP_TEST_POSTGRES` names one."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from quick_server import quick_server
from server_site import ORGANISER_TOKEN, WORKER_TOKEN, Site, running, serving, write_boards
from servers import POSTGRES, REDIS, needed, postgres_schema

from datacomp_server import schema
from datacomp_server.database import Database
from datacomp_server.models import Base
from datacomp_server.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine reaches a test."""
    for name in list(os.environ):
        if name.startswith("DATACOMP_") and name not in {POSTGRES, REDIS}:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _quick_server() -> Iterator[None]:
    with quick_server():
        yield


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty migrated database, to be copied."""
    path = tmp_path_factory.mktemp("template") / "template.sqlite3"
    database = Database(f"sqlite:///{path}")
    schema.migrate(database)
    with database.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A migrated schema of our own in the PostgreSQL database for tests."""
    with postgres_schema() as url:
        database = Database(url)
        schema.migrate(database)
        database.close()
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty, migrated database; both kinds, one after the other."""
    if request.param == "sqlite":
        path = tmp_path / "datacomp.sqlite3"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    url = request.getfixturevalue("postgres_url")
    yield url
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        names = ", ".join(table.name for table in Base.metadata.sorted_tables)
        connection.execute(sa.text(f"truncate {names} restart identity"))
    engine.dispose()


@pytest.fixture
def make_settings(database_url: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of an embedded server in an empty folder."""

    def make(**changes: Any) -> Settings:
        values: dict[str, Any] = {
            "data_dir": tmp_path,
            "database_url": database_url,
            "boards_file": write_boards(tmp_path),
            "worker_token": WORKER_TOKEN,
            "organiser_token": ORGANISER_TOKEN,
            "public_url": "http://example.test",
            "event_poll_seconds": 0.02,
            "rate_limits": False,
        }
        return Settings(**(values | changes))

    return make


@pytest.fixture
def site(make_settings: Callable[..., Settings]) -> Iterator[Site]:
    """A running application."""
    with running(make_settings()) as made:
        yield made


@pytest.fixture
def address(site: Site) -> Iterator[str]:
    """The same application behind a real socket, for what a test client cannot do: streams and cut connections."""
    with serving(site.app) as url:
        yield url


@pytest.fixture
def redis_url() -> Iterator[str]:
    """An empty Redis database for tests."""
    import redis

    url = needed(REDIS, "Redis")
    client = redis.Redis.from_url(url)
    client.flushdb()
    yield url
    client.flushdb()
    client.close()
