"""Which samples a tar holds: one small index per tar, made once and kept."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.problems import BadInput, Problem
from datacomp.reshard.space import writing
from datacomp.tars.runs import runs
from datacomp.uids import UID_DTYPE, Uids

INDEX_FORMAT = 2
PLACE = np.dtype([("uid", UID_DTYPE), ("start", "<i8"), ("stop", "<i8"), ("size", "<i8")])
"""A sample: the byte at which its first header begins, that after its last file, and the bytes of its files."""


@dataclass(frozen=True)
class TarIndex:
    """Samples of a tar that have a uid, in its order."""

    rows: npt.NDArray[np.void]
    """Dtype `PLACE`, shape (n,)."""
    samples: int
    """How many samples with a uid the tar has: `rows` may be a choice of them."""
    skipped: int
    """Samples whose `.json` is missing or names no uid: the original's resharder passes over them too."""

    @property
    def uids(self) -> Uids:
        """The samples' uids."""
        return np.ascontiguousarray(self.rows["uid"])

    def save(self, path: Path) -> None:
        """Keep it in a file, whole or not at all."""
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        with writing(path):
            try:
                with temporary.open("wb") as file:
                    np.save(file, np.array([self.samples, self.skipped], np.int64), allow_pickle=False)
                    np.save(file, self.rows, allow_pickle=False)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> TarIndex | None:
        """Read what `save` wrote; None when it is absent or damaged."""
        try:
            with path.open("rb") as file:
                counts, rows = np.load(file, allow_pickle=False), np.load(file, allow_pickle=False)
            if rows.dtype != PLACE or rows.ndim != 1:
                return None
            return cls(rows, int(counts[0]), int(counts[1]))
        except (OSError, ValueError, IndexError, EOFError):
            return None


Stamp = tuple[int, int]
"""What tells one version of a tar from another: bytes, and time of its last change in nanoseconds."""


def stamp(tar: Path) -> Stamp:
    """The stamp of a tar. `BadInput` when it is gone."""
    try:
        status = tar.stat()
    except OSError as error:
        raise tar_missing(tar, error) from error
    return status.st_size, status.st_mtime_ns


def tar_missing(tar: Path, error: OSError) -> BadInput:
    """The error of a tar that cannot be opened."""
    hint = "restore the tar, or see to its permissions"
    return BadInput.of("tar-missing", f"the tar cannot be opened: {error.strerror}", str(tar), hint)


def tar_changed(tar: Path, why: str) -> BadInput:
    """The error of a tar that is not as it was."""
    hint = "restore the tar; or take it as it is: start again in an empty directory, ingest its pool again"
    return BadInput.of("tar-changed", f"the tar has changed: {why}", where=str(tar), hint=hint)


@dataclass(frozen=True)
class TarDirectory:
    """Tars by name, and the cache that keeps their indexes."""

    directory: Path
    cache: Path
    tars: tuple[Path, ...]

    @classmethod
    def of(cls, directory: Path, cache: Path) -> TarDirectory:
        """`BadInput` when there is no tar."""
        if not directory.is_dir():
            raise BadInput.of("shards-missing", "there is no such directory", where=str(directory))
        tars = tuple(sorted(directory.glob("*.tar")))
        if not tars:
            hint = "give the directory of the .tar files, often called shards/"
            raise BadInput.of("shards-missing", "the directory holds no .tar", where=str(directory), hint=hint)
        return cls(directory, cache, tars)

    @property
    def identity(self) -> list[Any]:
        """What names these tars in their present state."""
        return [[str(tar.resolve()), *stamp(tar)] for tar in self.tars]

    def prepare(self, subset: Uids, work: Path) -> list[int]:
        """Numbers of the tars that `make` has to index."""
        self.cache.mkdir(parents=True, exist_ok=True)
        return [number for number, tar in enumerate(self.tars) if not index_file(tar, self.cache).is_file()]

    def make(self, work: Path, number: int) -> None:
        """Index a tar."""
        index_tar(self.tars[number], self.cache)

    def read(self, work: Path, number: int) -> TarIndex:
        """The index of a tar."""
        return index_tar(self.tars[number], self.cache)


def index_file(tar: Path, cache: Path) -> Path:
    """Where a tar's index is kept: under another name once the tar has changed."""
    return cache / f"{digest_json([INDEX_FORMAT, str(tar.resolve()), *stamp(tar)])[:40]}.index"


def index_tar(tar: Path, cache: Path) -> TarIndex:
    """The index of a tar, from the cache if it is there. `BadInput` names what is wrong with the tar."""
    path = index_file(tar, cache)
    found = TarIndex.load(path)
    if found is None:
        found = scan(tar)
        found.save(path)
    return found


def scan(path: Path) -> TarIndex:
    """Read all headers and json files of a tar. `BadInput` names what is wrong with it."""
    found = [np.empty(0, PLACE)]
    skipped = 0
    try:
        with path.open("rb", 0) as file:
            for run in runs(file.fileno()):
                own = np.empty(len(run.start), PLACE)
                own["uid"], own["start"], own["stop"], own["size"] = run.uids, run.start, run.stop, run.sizes.sum(1)
                found.append(own[run.named])
                skipped += len(own) - len(found[-1])
    except ValueError as error:
        raise tar_damaged(path, error) from error
    except OSError as error:
        raise tar_missing(path, error) from error
    rows = np.concatenate(found)
    return TarIndex(rows, len(rows), skipped)


def as_rows(uids: Uids, places: Iterable[int]) -> npt.NDArray[np.void]:
    """Rows of an index, from start, stop and size of one sample after another."""
    rows = np.empty(uids.size, PLACE)
    rows["uid"] = uids
    table = np.array(places, np.int64).reshape(-1, 3)
    for name, column in zip(("start", "stop", "size"), table.T, strict=True):
        rows[name] = column
    return rows


def tar_damaged(path: Path, error: ValueError) -> BadInput:
    """The error of a tar that cannot be read as one."""
    return BadInput(
        Problem(code="tar-damaged", message=f"not a readable tar: {error}", where=str(path), hint="download it again")
    )
