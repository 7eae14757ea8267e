"""A subset's samples in the tars of an ingested pool, from the places that its pack knows.

Only tars that hold samples of the subset are opened. Of a sample of image, json and caption, in that order, the pack
tells first and last byte: that it lies there, and that its json names the uid, is seen when it is copied. Of any other
sample headers and json are read: image and caption must lie where the pack has them, the json must name the uid, and
the sample before must end where this one begins. A tar of which that cannot be said is indexed by reading all headers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.reshard.index import (
    PLACE,
    TarIndex,
    as_rows,
    index_tar,
    stamp,
    tar_changed,
    tar_missing,
)
from datacomp.reshard.space import writing
from datacomp.tars.entries import BLOCK, Window
from datacomp.tars.plain import after
from datacomp.tars.samples import Sample, sample_at, uid_of
from datacomp.uids import Uids, to_hex

if TYPE_CHECKING:
    from datacomp.pool import Pool

ROWS, BEGINS = "rows.npy", "begins.npy"
BEFORE = 4096
"""Rows of the pack before the first chosen one among which the sample before it in the tar is looked for."""
SPREAD = 64
"""A tar whose chosen samples stand further apart in the pack than this on average is read instead."""


@dataclass(frozen=True)
class PoolTars:
    """The tars of an ingested pool, and the cache for indexes of those that have to be read."""

    directory: Path
    cache: Path
    digest: str
    """The pool's, so that every process works from the same pack."""

    @classmethod
    def of(cls, pool: Pool, cache: Path) -> PoolTars:
        """`BadInput` when the pool has no tars."""
        if not pool.manifest.tars:
            hint = "download its images and ingest it again"
            where = str(pool.directory)
            raise BadInput.of("pool-without-images", "the pool was ingested without tars", where, hint)
        return cls(pool.directory, cache, pool.manifest.digest)

    @property
    def pool(self) -> Pool:
        """The pool itself."""
        return _open(self.directory, self.digest)

    @property
    def tars(self) -> tuple[Path, ...]:
        """The tars in the order of their numbers."""
        return tuple(self.pool.tar_file(number) for number in range(len(self.pool.manifest.tars)))

    @property
    def identity(self) -> list[Any]:
        """What names the pool and its tars in their present state. `BadInput` names tars that are not as ingested."""
        found = []
        for path, tar in zip(self.tars, self.pool.manifest.tars, strict=True):
            found.append(stamp(path))
            if found[-1][0] != tar.size:
                raise tar_changed(path, f"it had {tar.size:,} bytes when it was ingested, now {found[-1][0]:,}")
        return [self.digest, *found]

    def prepare(self, subset: Uids, work: Path) -> list[int]:
        """Note the subset's rows in the order of the tars; numbers of the tars that hold some."""
        self.cache.mkdir(parents=True, exist_ok=True)
        rows = np.unique(self.pool.rows_of(subset))
        tar = np.asarray(self.pool.column("tar"))[rows]
        there = (rows >= 0) & (tar >= 0)
        rows, tar = rows[there], tar[there]
        rows = rows[np.lexsort((np.asarray(self.pool.column("image_offset"))[rows], tar))]
        begins = np.searchsorted(np.sort(tar), np.arange(len(self.tars) + 1))
        with writing(work):
            np.save(work / ROWS, rows, allow_pickle=False)
            np.save(work / BEGINS, begins, allow_pickle=False)
        hold = np.flatnonzero(np.diff(begins)).tolist()
        return [number for number in hold if TarIndex.load(self._file(work, number)) is None]

    def make(self, work: Path, number: int) -> None:
        """Find a tar's samples of the subset. `BadInput` when the tar is not the one that was ingested."""
        begin, end = np.load(work / BEGINS, mmap_mode="r")[number : number + 2]
        rows = np.asarray(np.load(work / ROWS, mmap_mode="r")[begin:end])
        index = self._located(number, rows)
        if index is None:
            index = self._chosen(number, rows)
        index.save(self._file(work, number))

    def read(self, work: Path, number: int) -> TarIndex:
        """A tar's samples of the subset."""
        samples = self.pool.manifest.tars[number].samples
        return TarIndex.load(self._file(work, number)) or TarIndex(np.empty(0, PLACE), samples, 0)

    def check(self, number: int, rows: npt.NDArray[np.int64]) -> None:
        """See whether some of a tar's samples, in its order, are where the pack has them. `BadInput` when not."""
        if self._at_places(number, rows) is None:
            self.cache.mkdir(parents=True, exist_ok=True)
            self._chosen(number, rows)

    def _file(self, work: Path, number: int) -> Path:
        return work / f"{number}.index"

    def _located(self, number: int, rows: npt.NDArray[np.int64]) -> TarIndex | None:
        """The samples at the pack's places; None when the tar has to be read to tell where they begin and end."""
        places = _Places.of(self.pool, rows)
        found = np.empty(rows.size, PLACE)
        found["uid"], found["start"], found["stop"] = self.pool.uids[rows], places.start, places.stop
        found["size"] = places.image_size + places.text_size + places.json_size
        others = np.flatnonzero(~places.told)
        if others.size:
            if not self._follow_others(number, rows[others], places.start[others]):
                return None
            read = self._at_places(number, rows[others])
            if read is None:
                return None
            found[others] = read.rows
        return TarIndex(found, self.pool.manifest.tars[number].samples, 0)

    def _at_places(self, number: int, rows: npt.NDArray[np.int64]) -> TarIndex | None:
        """The samples that begin at the pack's places; None when one does not, or has another uid."""
        places = _Places.of(self.pool, rows)
        path, uids = self.pool.tar_file(number), np.ascontiguousarray(self.pool.uids[rows])
        found: list[int] = []
        try:
            with path.open("rb", 0) as file:
                for sample, uid in zip(places.samples(Window(file.fileno())), to_hex(uids), strict=True):
                    if sample is None or uid_of(sample.json) != uid.encode():
                        return None
                    found += sample[:3]
        except ValueError:
            return None  # reading all of it says what is wrong
        except OSError as error:
            raise tar_missing(path, error) from error
        return TarIndex(as_rows(uids, found), self.pool.manifest.tars[number].samples, 0)

    def _follow_others(self, number: int, rows: npt.NDArray[np.int64], starts: npt.NDArray[np.int64]) -> bool:
        """Whether each sample begins where another, or the tar, does: then no file of its own stands before it."""
        first, last = max(int(rows.min()) - BEFORE, 0), int(rows.max()) + 1
        if last - first > SPREAD * rows.size + 2 * BEFORE:
            return False
        own = first + np.flatnonzero(self.pool.column("tar")[first:last] == number)
        ends = _Places.of(self.pool, own).stop
        return bool(np.isin(starts, np.append(ends, 0)).all())

    def _chosen(self, number: int, rows: npt.NDArray[np.int64]) -> TarIndex:
        """The samples around the pack's places, from the index of the whole tar."""
        path = self.pool.tar_file(number)
        whole = index_tar(path, self.cache)
        image, uids = np.asarray(self.pool.column("image_offset"))[rows], self.pool.uids[rows]
        at = np.searchsorted(np.ascontiguousarray(whole.rows["start"]), image, "right") - 1
        chosen = whole.rows[np.maximum(at, 0)] if whole.rows.size else np.empty(0, PLACE)
        if not whole.rows.size or (at < 0).any() or (chosen["uid"] != uids).any() or (chosen["stop"] <= image).any():
            raise tar_changed(path, "samples are not where they were when the pool was ingested")
        return TarIndex(chosen, self.pool.manifest.tars[number].samples, 0)


@dataclass(frozen=True)
class _Places:
    """Where images and captions lie; all arrays have shape (n,), in bytes of the tar."""

    image_offset: npt.NDArray[np.int64]
    image_size: npt.NDArray[np.int64]
    text_offset: npt.NDArray[np.int64]
    text_size: npt.NDArray[np.int64]
    json_size: npt.NDArray[np.int64]
    """0 where it is not known, or the sample has other files too."""

    @classmethod
    def of(cls, pool: Pool, rows: npt.NDArray[np.int64]) -> _Places:
        def column(name: str) -> npt.NDArray[np.int64]:
            if pool.manifest.column(name) is None:  # packs made before json_size was noted
                return np.zeros(rows.size, np.int64)
            return np.asarray(pool.column(name)[rows], np.int64)

        return cls(*map(column, cls.__dataclass_fields__))

    @property
    def told(self) -> npt.NDArray[np.bool_]:
        """Where the json fills what is between image and caption, so that `start` and `stop` are the sample's."""
        last = np.maximum(self.image_offset, self.text_offset) - BLOCK
        first = np.where(
            self.image_offset < self.text_offset, self.image_offset + self.image_size, self.text_offset + self.text_size
        )
        told: npt.NDArray[np.bool_] = (self.json_size > 0) & (first + -first % BLOCK + after(self.json_size) == last)
        return told

    @property
    def start(self) -> npt.NDArray[np.int64]:
        """Where the first one's header begins, if it has just one."""
        starts: npt.NDArray[np.int64] = np.minimum(self.image_offset, self.text_offset)
        return starts - BLOCK

    @property
    def stop(self) -> npt.NDArray[np.int64]:
        """Where the header after the last one begins."""
        ends: npt.NDArray[np.int64] = np.maximum(self.image_offset + self.image_size, self.text_offset + self.text_size)
        return ends + -ends % BLOCK

    def samples(self, tar: Window) -> Iterator[Sample | None]:
        """The sample at each place; None where image or caption lie elsewhere."""
        shape: tuple[str, ...] = ()
        columns = (self.image_offset, self.image_size, self.text_offset, self.text_size)
        for image, image_size, text, text_size in zip(*(column.tolist() for column in columns), strict=True):
            sample = sample_at(tar, min(image, text) - BLOCK, shape)
            if sample is None or sample.image() != (image, image_size) or sample.place("txt") != (text, text_size):
                yield None
                return
            shape = sample.shape
            yield sample


@lru_cache(4)
def _open(directory: Path, digest: str) -> Pool:
    from datacomp.pool import Pool

    pool = Pool.open(directory)
    if pool.manifest.digest != digest:
        raise BadInput.of("pool-changed", "the pool was ingested again meanwhile", str(directory), "start again")
    return pool
