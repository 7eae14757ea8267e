"""The packs that lie on this machine, opened once and looked at again when their manifest changes."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from datacomp.pool import Pool
from datacomp.pool.manifest import MANIFEST, PACK
from datacomp.problems import DatacompError
from datacomp_server.errors import NotFound


class PoolAbsent(NotFound):
    """This server has no copy of the pool."""


@dataclass(frozen=True)
class Shelf:
    """An opened pool. The digest is worked out once: a manifest may name a hundred thousand shards."""

    pool: Pool
    digest: str


class Library:
    """Pools by name. Safe to use from many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, tuple[tuple[int, int], Shelf]] = {}
        self._guard = threading.Lock()

    def shelf(self, name: str, digest: str | None) -> Shelf:
        """The pool of a board. `PoolAbsent` when it is not here, not ingested, or not the one with this digest."""
        try:
            found = self._shelf(name)
        except (DatacompError, OSError) as error:
            said = error.problems[0].message if isinstance(error, DatacompError) else type(error).__name__
            raise _absent(name, f"this server holds no copy of the pool {name!r}: {said}") from error
        if digest is not None and found.digest != digest:
            message = f"this server's pool {name!r} is another one: {found.digest[:16]}, not {digest[:16]}"
            raise _absent(name, message)
        return found

    def _shelf(self, name: str) -> Shelf:
        directory = self.folder / name
        try:
            stat = (directory / PACK / MANIFEST).stat()
            stamp = stat.st_mtime_ns, stat.st_size
        except OSError:
            stamp = 0, 0
        with self._guard:
            known = self._open.get(name)
            if known is not None and known[0] == stamp:
                return known[1]
        pool = Pool.open(directory)
        found = Shelf(pool, pool.manifest.digest)
        with self._guard:
            self._open[name] = stamp, found
        return found


def _absent(name: str, message: str) -> PoolAbsent:
    hint = "with a copy of your own: datacomp filter EXPRESSION --pool DIR --dry-run"
    return PoolAbsent.of("pool-not-here", message, where=name, hint=hint)
