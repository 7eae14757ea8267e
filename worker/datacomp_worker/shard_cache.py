"""Subset shards in a host's scratch: bounded, the least recently used leave first, never one in use.

Each entry is a folder with a lock file beside it. Who uses an entry holds its lock shared, who makes or removes it
holds it alone; the system gives a lock back when its holder dies. A folder takes its name only when everything is in
it, and the time of the lock file is that of the entry's last use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from datacomp.reshard.run import META
from datacomp.reshard.space import writing

SPARE = 1 << 30
"""Bytes of the disk that making room leaves free for everything else."""
PART = ".part"


@dataclass(frozen=True)
class ShardCache:
    """The subset shards of a host."""

    scratch: Path
    limit: int
    """Bytes beyond which entries that nobody uses are removed. What is in use may exceed it."""

    @property
    def directory(self) -> Path:
        """Holds the entries."""
        return self.scratch / "subsets"

    @property
    def indexes(self) -> Path:
        """Holds indexes of pools' tars that had to be read."""
        return self.scratch / "tar-indexes"

    @contextmanager
    def entry(self, key: str, make: Callable[[Path], None], check: Callable[[], None]) -> Iterator[Path]:
        """The folder of an entry, made by `make` unless it is there, and kept while the context lasts.

        `make` gets a folder that may hold what an attempt left that was killed, and writes `meta.json` last. When it
        fails, nothing of it stays. `check` is called while another process makes the entry and may raise.
        """
        with writing(self.directory):
            self.directory.mkdir(parents=True, exist_ok=True)
        final = self.directory / key
        with self._lock_file(key).open("a") as lock:
            _acquire(lock, fcntl.LOCK_SH, check)
            while not (final / META).is_file():
                _acquire(lock, fcntl.LOCK_EX, check)
                if not (final / META).is_file():
                    self._make(final, make)
                # Alone no longer; between the two locks another may have removed it.
                _acquire(lock, fcntl.LOCK_SH, check)
            os.utime(lock.fileno())
            yield final

    def _make(self, final: Path, make: Callable[[Path], None]) -> None:
        part = final.with_suffix(PART)
        shutil.rmtree(final, ignore_errors=True)
        try:
            make(part)
            part.rename(final)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def make_room(self, needed: int) -> None:
        """Remove entries that nobody uses, least recently used first, until so many bytes fit limit and disk."""
        entries = sorted(self._entries())
        held = sum(size for _, size, _ in entries)
        for _, size, key in entries:
            free = shutil.disk_usage(self.directory).free
            if held + needed <= self.limit and free >= needed + SPARE:
                return
            if self._remove(key):
                held -= size

    def _entries(self) -> Iterator[tuple[float, int, str]]:
        """Time of last use, bytes and key of every entry, half-made ones included."""
        for lock in self.directory.glob("*.lock"):
            size = sum(_size(lock.with_suffix(suffix)) for suffix in ("", PART))
            if size:
                yield lock.stat().st_mtime, size, lock.stem

    def _remove(self, key: str) -> bool:
        """Remove an entry; False when somebody uses or makes it."""
        with self._lock_file(key).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            final = self.directory / key
            (final / META).unlink(missing_ok=True)  # first: an entry without it is none, should we be killed here
            for folder in (final, final.with_suffix(PART)):
                shutil.rmtree(folder, ignore_errors=True)
            return True

    def _lock_file(self, key: str) -> Path:
        # Never removed: who waits for a file that is replaced would hold a lock that nobody else sees.
        return self.directory / f"{key}.lock"


def _acquire(lock: IO[str], kind: int, check: Callable[[], None]) -> None:
    fcntl.flock(lock, fcntl.LOCK_UN)  # two that wait while they hold it shared would wait for each other
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            check()
            time.sleep(0.1)


def _size(folder: Path) -> int:
    """Bytes of a folder's files, 0 when there is none; files that go meanwhile do not count."""
    total = 0
    for directory, _, files in os.walk(folder):
        for name in files:
            try:
                total += (Path(directory) / name).lstat().st_size
            except FileNotFoundError:
                continue
    return total
