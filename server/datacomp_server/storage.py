"""Files in a folder or a bucket (fsspec): streamed in with their digest, complete or not there at all.

Keys: `uploads/<submission>/<name>` and `runs/<run>/<attempt>/<name>`. Which of them count is the database's to say.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import fsspec

from datacomp.digests import BLOCK
from datacomp.problems import PlatformFault
from datacomp_server.clock import new_id

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
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
            raise PlatformFault.of(
                "storage-full", "the server's storage is full", key, "free space, then send the file again"
            ) from error
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

    def writer(self, key: str) -> Writer:
        """Open a file for streaming; it appears under `key` on `commit`, and vanishes otherwise."""
        return Writer(self, key)

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
            self.fs.makedirs(self.path(key).rsplit("/", 1)[0], exist_ok=True)

    def sync(self, file: Any) -> None:
        """Bring a local file to disk before it is called stored."""
        if self._local:
            file.flush()
            os.fsync(file.fileno())


class Writer:
    """A file that is being written. A context manager: leaving it without `commit` leaves nothing behind."""

    def __init__(self, storage: Storage, key: str) -> None:
        self._storage, self._key = storage, key
        self._part = f"parts/{new_id()}"
        self._sha = hashlib.sha256()
        self._committed = False
        self.size = 0
        """Bytes written so far."""
        with storage_faults(key):
            storage.make_parent(self._part)
            self._file = storage.fs.open(storage.path(self._part), "wb")

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
