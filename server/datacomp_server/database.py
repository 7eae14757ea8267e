"""The engine, the declarative base and its column types, for SQLite and PostgreSQL alike.

Two kinds of session: `write()` begins SQLite transactions with BEGIN IMMEDIATE, so that writers queue up instead of
failing half-way; `read()` takes a snapshot that no writer waits for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum as PythonEnum
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.engine import Connection, Dialect, Engine
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from datacomp.digests import digest_bytes
from datacomp.problems import PlatformFault

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
BUSY_SECONDS = 30
READ_ONLY = "datacomp_read_only"


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on both databases (SQLite forgets the zone)."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; naive times are refused, because nobody knows what they mean."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware again."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class CleanText(TypeDecorator[str]):
    """Text without NUL and lone surrogates, which PostgreSQL refuses and logs of participants' code contain."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """Replace what cannot be stored."""
        if value is None:
            return None
        return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def enum_column(kind: type[PythonEnum]) -> sa.Enum:
    """A column of an enum's values, stored as plain text so that adding a member needs no migration."""
    return sa.Enum(
        kind, native_enum=False, length=24, values_callable=lambda members: [member.value for member in members]
    )


class Base(DeclarativeBase):
    """Base of all tables."""

    metadata = sa.MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own protocol
        datetime: UtcDateTime(),
        str: CleanText(),
        dict[str, Any]: sa.JSON(none_as_null=True),
        list[dict[str, Any]]: sa.JSON(none_as_null=True),
        list[str]: sa.JSON(none_as_null=True),
        list[int]: sa.JSON(none_as_null=True),
    }


def storable(message: BaseModel) -> dict[str, Any]:
    """A message as a JSON column takes it."""
    return message.model_dump(mode="json")


class Database:
    """One engine and its two kinds of session."""

    def __init__(self, url: str) -> None:
        self.engine = _make_engine(url)
        self._write = sessionmaker(self.engine, expire_on_commit=False)
        self._read = sessionmaker(self.engine.execution_options(**{READ_ONLY: True}), expire_on_commit=False)

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is in use."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back on any exception."""
        with self._write() as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that is rolled back at the end, whatever happened."""
        with self._read() as session:
            yield session

    def close(self) -> None:
        """Close all pooled connections."""
        self.engine.dispose()


@contextmanager
def database_faults(engine: Engine) -> Iterator[None]:
    """Turn a database that does not answer at start into a typed fault that says what an organiser can do."""
    try:
        yield
    except (sa.exc.OperationalError, OSError) as error:
        local = engine.dialect.name == "sqlite"
        hint = (
            "its folder must exist, have room, and be writable by this account: check the mount and its permissions"
            if local
            else "is it running, and is DATACOMP_DATABASE_URL right?"
        )
        cause = error.orig if isinstance(error, sa.exc.OperationalError) else error
        where = engine.url.database if local else engine.url.render_as_string(hide_password=True)
        raise PlatformFault.of("database-unusable", f"the database cannot be used: {cause}", where, hint) from error


def among(session: Session, column: sa.ColumnElement[str], values: Sequence[str]) -> sa.ColumnElement[bool]:
    """Whether a column is one of many values. PostgreSQL gets them as one array: the driver would parse a statement of
    a hundred parameters anew every time, which takes longer than the statement."""
    if is_postgresql(session):
        return column == sa.func.any(sa.bindparam(None, list(values), type_=sa.ARRAY(sa.Text), unique=True))
    return column.in_(values)


def is_postgresql(session: Session) -> bool:
    """Whether a session's database is PostgreSQL."""
    return session.get_bind().dialect.name == "postgresql"


def hold_lock(session: Session, name: str, *, shared: bool = False) -> None:
    """Wait until no other transaction holds the lock of that name; held until this transaction ends. Those that hold it
    `shared` do not wait for each other.

    On SQLite a write transaction is already alone.
    """
    if is_postgresql(session):
        lock = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
        session.execute(sa.select(lock(_lock_number(name))))


def try_lock(session: Session, name: str) -> bool:
    """Take the lock of that name, as `hold_lock` does, unless another transaction holds it: False then, at once."""
    if not is_postgresql(session):
        return True
    return bool(session.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(_lock_number(name)))))


def _lock_number(name: str) -> int:
    return int(digest_bytes(name.encode())[:15], 16)


def _make_engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return sa.create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=40)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS}, pool_size=10, max_overflow=60)
    file = engine.url.database
    if file and file != ":memory:":
        with database_faults(engine):
            Path(file).parent.mkdir(parents=True, exist_ok=True)
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _configure_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # the driver must not begin transactions: `_begin_sqlite` does
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", f"busy_timeout={BUSY_SECONDS * 1000}", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    read_only = connection.get_execution_options().get(READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
