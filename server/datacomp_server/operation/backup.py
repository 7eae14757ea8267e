"""Backup and restore of everything that was acknowledged: the database, and the files that it refers to.

A backup folder holds `files/<key>`, shared by all its backups because a stored file never changes, and for each backup
`<time>.sqlite3` or `<time>.dump` (pg_dump) and, written last, `<time>.json`. The database is copied first: whatever it
refers to is in storage by then.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL

from datacomp.digests import digest_file
from datacomp.problems import BadInput, PlatformFault
from datacomp_server import schema
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.operation.repository import StoredKey, stored_keys
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.uploads.models import UploadPiece
from datacomp_server.uploads.repository import PieceRepository

FORMAT = "datacomp-backup@1"
FILES = "files"


@dataclass(frozen=True)
class BackupReport:
    """What a backup holds. `new_files` were not in the folder before; `gone` were deleted meanwhile."""

    format: str
    taken_at: str
    database: str
    database_digest: str
    schema: str
    files: int
    bytes: int
    new_files: int
    gone: list[str]


def back_up(settings: Settings, folder: Path) -> BackupReport:
    """Take a backup while the platform goes on. Raises `PlatformFault`; the report is written last."""
    folder.mkdir(parents=True, exist_ok=True)
    stamp = now().strftime("%Y%m%dT%H%M%S.%fZ")
    copy = _copy_database(sa.make_url(settings.database_url), folder / stamp)
    keys = _keys_of(settings, copy)
    storage = Storage(settings.storage_url)
    fetched = [_fetch(storage, key, folder / FILES / key.key) for key in keys]
    report = BackupReport(
        format=FORMAT,
        taken_at=stamp,
        database=copy.name,
        database_digest=digest_file(copy),
        schema=schema.newest() or "",
        files=len(keys),
        bytes=sum(key.size for key in keys),
        new_files=sum(new is True for new in fetched),
        gone=[key.key for key, new in zip(keys, fetched, strict=True) if new is None],
    )
    part = folder / f"{stamp}.part"
    part.write_text(json.dumps({**asdict(report), "keys": [asdict(key) for key in keys]}, indent=1))
    part.rename(folder / f"{stamp}.json")
    return report


def restore(settings: Settings, folder: Path, stamp: str | None = None) -> BackupReport:
    """Bring back a backup (default: the newest) into an empty database and storage, and check every digest.

    Afterwards the platform goes on where it was: runs whose worker is gone are handed on when their lease has run out.
    """
    report, keys = _read_report(folder, stamp)
    source = folder / report.database
    if not source.is_file() or digest_file(source) != report.database_digest:
        raise BadInput.of("backup-damaged", "the copy of the database is missing or damaged", where=str(source))
    url = sa.make_url(settings.database_url)
    _require_empty(settings, url)
    storage = Storage(settings.storage_url)
    wrong = [key.key for key in keys if not _put(storage, key, folder / FILES / key.key)]
    lost = [key for key in wrong if key not in report.gone]
    if lost:
        message = f"{len(lost)} files of the backup are missing or damaged, the first is {lost[0]}"
        raise BadInput.of("backup-damaged", message, where=str(folder / FILES), hint="use another backup")
    _load_database(url, source)
    database = Database(settings.database_url)
    try:
        schema.migrate(database)
        _forget_lost_pieces(database, storage)
    finally:
        database.close()
    return report


# --- databases


def _copy_database(url: URL, base: Path) -> Path:
    if url.get_backend_name() == "sqlite":
        target = base.with_name(f"{base.name}.sqlite3")
        # SQLite's own backup: a consistent copy while others write.
        present = sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)
        with closing(present) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return target
    target = base.with_name(f"{base.name}.dump")
    _postgres(url, "pg_dump", "--format=custom", "--no-owner", "--file", str(target))
    return target


def _load_database(url: URL, source: Path) -> None:
    if url.get_backend_name() == "sqlite":
        target = Path(url.database or "")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        return
    _postgres(url, "pg_restore", "--no-owner", "--single-transaction", "--exit-on-error", "--dbname", "", str(source))


def _postgres(url: URL, program: str, *arguments: str) -> None:
    """Run a client program of PostgreSQL; the password goes by the environment, where no list of processes shows it."""
    address = url.set(drivername="postgresql", password=None).render_as_string()
    command = [program, *(address if word == "" else word for word in arguments)]
    if program == "pg_dump":
        command.append(f"--dbname={address}")
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **({"PGPASSWORD": str(url.password)} if url.password else {})},
            capture_output=True,
            check=False,
            text=True,
        )
    except FileNotFoundError as error:
        raise PlatformFault.of(
            "postgres-client-missing", f"{program} is not installed", hint="install PostgreSQL's client programs"
        ) from error
    if done.returncode != 0:
        raise PlatformFault.of("postgres-client-failed", f"{program}: {done.stderr.strip()[-2000:]}", where=program)


def _require_empty(settings: Settings, url: URL) -> None:
    """Nothing is ever overwritten by a restore."""
    if url.get_backend_name() == "sqlite":
        taken = Path(url.database or "").exists()
    else:
        database = Database(settings.database_url)
        with database.engine.connect() as connection:
            taken = bool(sa.inspect(connection).get_table_names())
        database.close()
    if taken:
        raise BadInput.of(
            "restore-not-empty",
            "the database is not empty",
            where=url.render_as_string(),
            hint="restore into an empty database and an empty storage",
        )


# --- files


def _forget_lost_pieces(database: Database, storage: Storage) -> None:
    """Uploads that were under way go on from where their pieces are complete."""
    with database.write() as session:
        for submission in session.scalars(sa.select(UploadPiece.submission_id).distinct()).all():
            lost = False
            for piece in PieceRepository(session).of_submission(submission):
                lost = lost or not storage.exists(piece.key)
                if lost:
                    session.delete(piece)


def _keys_of(settings: Settings, copy: Path) -> list[StoredKey]:
    """The files that the copied database refers to."""
    # A dump cannot be queried. Files that were stored since it was made do no harm.
    database = Database(f"sqlite:///{copy}" if copy.suffix == ".sqlite3" else settings.database_url)
    try:
        with database.read() as session:
            return stored_keys(session)
    finally:
        database.close()
        for extra in ("-wal", "-shm"):
            Path(f"{copy}{extra}").unlink(missing_ok=True)


def _fetch(storage: Storage, key: StoredKey, target: Path) -> bool | None:
    """Copy a stored file into the backup; False when it is there already, None when it is gone from storage."""
    if target.is_file() and target.stat().st_size == key.size:
        return False
    if not storage.exists(key.key):
        return None
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    with part.open("wb") as file:
        for block in storage.blocks(key.key):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    part.rename(target)
    return True


def _put(storage: Storage, key: StoredKey, source: Path) -> bool:
    """Copy a file back; False when it is not what it was."""
    if not source.is_file() or source.stat().st_size != key.size:
        return False
    if key.digest is not None and digest_file(source) != key.digest:
        return False
    with storage.writer(key.key) as writer:
        for block in _blocks(source):
            writer.write(block)
        writer.commit()
    return True


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def _read_report(folder: Path, stamp: str | None) -> tuple[BackupReport, list[StoredKey]]:
    names = sorted(path.name.removesuffix(".json") for path in folder.glob("*.json"))
    if not names or (stamp is not None and stamp not in names):
        known = ", ".join(names) or "none"
        raise BadInput.of("backup-unknown", "there is no such backup", where=str(folder), hint=f"there are: {known}")
    body = json.loads((folder / f"{stamp or names[-1]}.json").read_text())
    if body.get("format") != FORMAT:
        raise BadInput.of("backup-format", f"this version reads {FORMAT}", where=str(folder))
    keys = [StoredKey(**key) for key in body.pop("keys")]
    return BackupReport(**body), keys
