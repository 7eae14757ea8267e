"""Files in a folder or a bucket (fsspec): streamed in with their digest, complete or not there at all.

Keys: `uploads/<submission>/<name>`, `runs/<run>/<attempt>/<name>`, and what is under way: `pieces/<submission>/<piece>`
of files that arrive in pieces, `parts/<id>` of files that are being written. Which of them count is the database's to
say.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import fsspec

from datacomp.digests import BLOCK
from datacomp.problems import PlatformFault
from datacomp_server.clock import new_id
from datacomp_server.errors import OutOfSpace

PARTS = "parts"
RESERVE = 64 << 20
"""Bytes that an upload leaves free for everything else."""
OBJECT_BLOCK = 8 << 20
"""How much of a file on its way into a bucket is held in memory."""
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FULL_HINT = "tell the organisers, who can free space; then send the file again"
_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def storage_faults(key: str) -> Iterator[None]:
    """Turn I/O errors into typed faults that say what an organiser can do."""
    try:
        yield
    except FileNotFoundError as error:
        raise PlatformFault.of(
            "storage-missing", f"a stored file is gone: {error}", key, "restore it from the backup"
        ) from error
    except OSError as error:
        if error.errno in _FULL:
            raise OutOfSpace.of("storage-full", "the server's storage is full", key, FULL_HINT) from error
        if error.errno in _READ_ONLY:
            raise PlatformFault.of(
                "storage-read-only", "the server's storage cannot be written", key, "check mounts and permissions"
            ) from error
        raise PlatformFault.of("storage-failed", f"the server's storage failed: {error}", key) from error


class Storage:
    """One folder or bucket."""

    def __init__(self, url: str) -> None:
        self.fs, root = fsspec.core.url_to_fs(url)
        self.root = root.rstrip("/")
        self._local = "file" in (self.fs.protocol if isinstance(self.fs.protocol, tuple) else (self.fs.protocol,))

    def path(self, key: str) -> str:
        """The file system's path of a key."""
        return f"{self.root}/{key}"

    def writer(self, key: str, *, part: str | None = None) -> Writer:
        """Open a file for streaming; it appears under `key` on `commit`, and vanishes otherwise. Until then it lies
        under `part`, which may be `key` itself where nobody reads a file before the database says so."""
        return Writer(self, key, part or f"{PARTS}/{new_id()}")

    def exists(self, key: str) -> bool:
        """Whether a file is there."""
        with storage_faults(key):
            return bool(self.fs.exists(self.path(key)))

    def blocks(self, key: str, size: int = BLOCK) -> Iterator[bytes]:
        """The content in blocks; memory stays at one block."""
        with storage_faults(key), self.fs.open(self.path(key), "rb") as file:
            while block := file.read(size):
                yield block

    def delete(self, key: str) -> None:
        """Remove a file; silent when it is gone already."""
        with storage_faults(key), suppress(FileNotFoundError):
            self.fs.rm_file(self.path(key))

    def require_room(self, size: int) -> None:
        """`OutOfSpace` unless `size` more bytes fit with some to spare. A bucket has room for everything."""
        if not self._local:
            return
        with storage_faults(self.root):
            self.fs.makedirs(self.root, exist_ok=True)
            free = shutil.disk_usage(self.root).free
        if free < size + RESERVE:
            message = f"{size:,} bytes do not fit: the server's storage has {free:,} left"
            raise OutOfSpace.of("storage-full", message, hint=FULL_HINT)

    def names(self, key: str) -> list[str]:
        """The names right below a key, of files and of folders."""
        with storage_faults(key), suppress(FileNotFoundError):
            self.fs.invalidate_cache(self.path(key))
            return sorted(str(path).rstrip("/").rsplit("/", 1)[-1] for path in self.fs.ls(self.path(key), detail=False))
        return []

    def written_at(self, key: str) -> datetime | None:
        """When a file was last written to; None when it is gone."""
        with storage_faults(key), suppress(FileNotFoundError):
            at: datetime = self.fs.modified(self.path(key))
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        return None

    def delete_all(self, key: str) -> None:
        """Remove everything below a key; silent when there is nothing."""
        with storage_faults(key), suppress(FileNotFoundError):
            self.fs.rm(self.path(key), recursive=True)

    def check(self) -> None:
        """Write, read and delete a small file; `PlatformFault` says what is wrong."""
        key = f"check/{new_id()}"
        with self.writer(key) as writer:
            writer.write(b"ok")
            writer.commit()
        self.delete(key)

    def make_parent(self, key: str) -> None:
        """Make the folder of a key, where there are folders."""
        if self._local:
            with storage_faults(key):
                self.fs.makedirs(self.path(key).rsplit("/", 1)[0], exist_ok=True)

    def sync(self, file: Any) -> None:
        """Bring a local file to disk before it is called stored."""
        if self._local:
            file.flush()
            os.fsync(file.fileno())


class Writer:
    """A file that is being written. A context manager: leaving it without `commit` leaves nothing behind."""

    def __init__(self, storage: Storage, key: str, part: str) -> None:
        self._storage, self._key, self._part = storage, key, part
        self._sha = hashlib.sha256()
        self._committed = False
        self.size = 0
        """Bytes written so far."""
        with storage_faults(key):
            storage.make_parent(self._part)
            self._file = storage.fs.open(storage.path(self._part), "wb", block_size=OBJECT_BLOCK)

    @property
    def digest(self) -> str:
        """Digest of the bytes written so far."""
        return self._sha.hexdigest()

    def write(self, block: bytes) -> None:
        """Append a block."""
        with storage_faults(self._key):
            self._file.write(block)
        self._sha.update(block)
        self.size += len(block)

    def commit(self) -> None:
        """Make the file appear under its key, replacing an earlier one."""
        storage = self._storage
        with storage_faults(self._key):
            storage.sync(self._file)
            self._file.close()
            if self._part != self._key:
                storage.make_parent(self._key)
                storage.fs.mv(storage.path(self._part), storage.path(self._key))
        self._committed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._committed:
            return
        # Cleaning up must not hide why we are here.
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._storage.fs.rm_file(self._storage.path(self._part))
