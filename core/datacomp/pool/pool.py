"""A pool as filters and stages read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from datacomp.pool.manifest import PACK, PoolManifest, read_manifest
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import Uids, find, release

if TYPE_CHECKING:
    import pyarrow as pa

    from datacomp.pool.manifest import Column
    from datacomp.pool.npz import Member

METADATA = "metadata"
SHARDS = "shards"
BLOCK = 1 << 16


@dataclass(frozen=True)
class Rows:
    """One metadata shard's rows within the pool: rows `start` to `stop` are rows 0 to `stop - start` of its files."""

    shard: int
    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class Pool:
    """An ingested pool. Rows are in shard order: metadata files by name, rows as they stand in them."""

    directory: Path
    manifest: PoolManifest
    in_uid_order: ClassVar[bool] = False
    """Whether rows stand in the order of uids instead."""

    @classmethod
    def open(cls, directory: Path) -> Pool:
        """Open an ingested pool; `BadInput` when there is none or it has no pack."""
        return cls(directory, read_manifest(directory))

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return self.manifest.rows

    # --- columns

    @cached_property
    def names(self) -> frozenset[str]:
        """Every column that a filter may name, of the pack and of the metadata."""
        own = {column.name for column in self.manifest.columns if column.name not in INTERNAL}
        return frozenset(own | set(self.manifest.metadata))

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of the pack, mapped: shape (rows,). Text of few values comes as its codes, see `vocabulary`."""
        column = self.manifest.column(name)
        if column is None:
            raise self._unknown(name)
        if column.constant is not None:
            return np.broadcast_to(np.array(column.constant, column.dtype), (self.rows,))
        return self._mapped(column, self.directory / PACK / "columns" / f"{name}.npy")

    def _mapped(self, column: Column, path: Path) -> npt.NDArray[Any]:
        try:
            array: npt.NDArray[Any] = np.load(path, mmap_mode="r" if self.rows else None)
        except (OSError, ValueError) as error:
            raise self._damaged(path, str(error)) from error
        if array.shape != (self.rows,) or str(array.dtype) != column.dtype:
            raise self._damaged(path, f"it holds {array.shape} {array.dtype}")
        return array

    def is_whole(self) -> bool:
        """Whether every column file is there in its full length; their bytes are not read."""
        try:
            for column in self.manifest.columns:
                self.column(column.name)
        except PlatformFault:
            return False
        return True

    def vocabulary(self, name: str) -> tuple[str, ...] | None:
        """The texts that a column's codes stand for; None for a column of numbers."""
        column = self.manifest.column(name)
        return column.vocabulary if column else None

    def is_text(self, name: str, text: str) -> npt.NDArray[np.bool_]:
        """Which rows of a column of few texts (`lang`) hold this one: shape (rows,)."""
        codes, words = self.column(name), self.vocabulary(name)
        if words is None:
            raise BadInput.of("column-not-text", f"the column {name!r} holds numbers", where=name)
        return np.asarray(codes == (words.index(text) if text in words else len(words)))

    def blocks(self) -> Iterator[slice]:
        """All rows in pieces that fit a processor's cache, for methods that pass over many columns at once."""
        return (slice(start, min(start + BLOCK, self.rows)) for start in range(0, self.rows, BLOCK))

    def metadata_column(self, name: str, shard: int) -> pa.ChunkedArray:
        """A column of a metadata file, as Arrow gives it."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        path = self.metadata_file(shard)
        if name not in self.manifest.metadata:
            raise self._unknown(name)
        try:
            column = pq.read_table(path, columns=[name]).column(0)
        except (OSError, pa.ArrowException) as error:
            raise PlatformFault.of("pool-shard-unreadable", str(error), str(path), "restore the file") from error
        if len(column) != self.manifest.shards[shard].rows:
            raise PlatformFault.of("pool-changed", "the file has changed since ingestion", str(path), "ingest again")
        return column

    def metadata_file(self, shard: int) -> Path:
        """The parquet file of a shard."""
        return self.directory / METADATA / f"{self.manifest.shards[shard].name}.parquet"

    # --- features

    def features(self, name: str, shard: int) -> npt.NDArray[Any]:
        """A feature array of one shard, mapped inside its `.npz`: shape (rows of the shard, width)."""
        from datacomp.pool.npz import map_member

        self.require_feature(name)
        path = self.directory / METADATA / f"{self.manifest.shards[shard].name}.npz"
        try:
            member = self._members(shard, path).get(name)
            if member is None or member.shape[0] != self.manifest.shards[shard].rows:
                raise PlatformFault.of("pool-changed", f"{name} has changed since ingestion", str(path), "ingest again")
            return map_member(path, member)
        except (OSError, BadInput) as error:
            raise PlatformFault.of("pool-shard-unreadable", str(error), str(path), "restore the file") from error

    def gather(self, name: str, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Features of some rows, given in ascending order: shape (len(rows), width)."""
        width = next(feature.width for feature in self.manifest.features if feature.name == name)
        out = np.empty((rows.size, width), np.float16)
        for part in self.shard_rows():
            begin, end = np.searchsorted(rows, [part.start, part.stop])
            if end > begin:
                out[begin:end] = self.features(name, part.shard)[rows[begin:end] - part.start]
        return out

    def require_feature(self, name: str) -> None:
        """`BadInput` names the features there are."""
        known = [feature.name for feature in self.manifest.features]
        if name not in known:
            hint = f"choose from {', '.join(known)}" if known else "this pool has no .npz files"
            raise BadInput.of("feature-unknown", f"the pool has no feature {name!r}", where=name, hint=hint)

    def _members(self, shard: int, path: Path) -> dict[str, Member]:
        from datacomp.pool.npz import members

        if shard not in self._member_cache:
            self._member_cache[shard] = members(path)
        return self._member_cache[shard]

    @cached_property
    def _member_cache(self) -> dict[int, dict[str, Member]]:
        return {}

    # --- rows and uids

    def shard_rows(self) -> list[Rows]:
        """The shards in order."""
        found, start = [], 0
        for number, shard in enumerate(self.manifest.shards):
            found.append(Rows(number, shard.name, start, start + shard.rows))
            start += shard.rows
        return found

    @cached_property
    def uids(self) -> Uids:
        """Every row's uid."""
        return self.column("uid")

    @cached_property
    def uid_order(self) -> npt.NDArray[np.integer]:
        """Rows in ascending order of their uids: int32, or int64 in pools of more than 2^31 rows."""
        return self.column("uid_order")

    @cached_property
    def sorted_uids(self) -> Uids:
        """All uids in ascending order, mapped."""
        if self.manifest.column("uid_sorted") is None:  # a pack of before there was such a column
            ordered: Uids = np.asarray(self.uids)[self.uid_order]
            return ordered
        return self.column("uid_sorted")

    def rows_of(self, uids: Uids) -> npt.NDArray[np.int64]:
        """The row of each uid, -1 where the pool has none. Sorted uids are looked up in one pass over mapped files."""
        place = find(uids, self.sorted_uids)
        return np.where(place >= 0, np.asarray(self.uid_order)[place], -1).astype(np.int64)

    @cached_property
    def available(self) -> npt.NDArray[np.bool_]:
        """Which rows have an image here: a byte a row in memory."""
        tar = self.column("tar")
        there = np.empty(self.rows, np.bool_)
        for block in self.blocks():
            there[block] = tar[block] >= 0
        release(tar)
        return there

    def release(self) -> None:
        """Let go of the memory that lookups have mapped; the system reads the files again when they are needed."""
        for column in (self.sorted_uids, self.uid_order):
            release(column)

    def tar_file(self, number: int) -> Path:
        """The tar of that number."""
        return self.directory / SHARDS / f"{self.manifest.tars[number].name}.tar"

    def require_columns(self, names: Sequence[str]) -> None:
        """`BadInput` names every column that is missing, with those there are."""
        missing = [name for name in names if name not in self.names]
        if missing:
            raise BadInput(*(problem for name in missing for problem in self._unknown(name).problems))

    def _unknown(self, name: str) -> BadInput:
        hint = HOW_TO_GET.get(name, f"choose from {', '.join(sorted(self.names))}")
        return BadInput.of("column-unknown", f"the pool has no column {name!r}", where=name, hint=hint)

    def _damaged(self, path: Path, why: str) -> PlatformFault:
        hint = f"run: datacomp pool ingest {self.directory}"
        return PlatformFault.of("pool-pack-damaged", f"a column file does not fit the manifest: {why}", str(path), hint)


INTERNAL = frozenset(
    {"uid_order", "uid_sorted", "tar", "image_offset", "image_size", "text_offset", "text_size", "json_size"}
)
"""Columns of the pack that say where things lie; filters have no use for them."""

HOW_TO_GET = {
    "lang": "ingest the pool again, without --no-language",
    "lang_probability": "ingest the pool again, without --no-language",
    "lang_cld3": "datacomp pool ingest DIR --cld3",
    "wordnet_hit": "datacomp pool ingest DIR --wordnet DICTIONARY --synsets LIST",
    "cluster": "datacomp pool ingest DIR --centroids CENTROIDS.npy",
}
"""Columns that are there when they were asked for."""
