"""Subset shards: the tars that hold just a subset, laid out as DataComp's resharder lays them out.

Samples are copied as bytes from the pool's tars, found through the places that the pack knows, so that nothing is
decoded and samples outside the subset are not read. Order is that of the pool's tars, and a sample that repeats is
copied once per repeat under the keys `<uid>-0`, `<uid>-1`, ...; the same subset of the same pool gives the same bytes.

Shards are a cache under a worker's scratch, named by what they were made from. `meta.json` is written last, and the
folder takes its name only when everything is in it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard import tarbytes
from datacomp.uids import UID_DTYPE, Uids, halves, to_hex, unknown_problem

SHARD_SIZE = 10_000
"""Samples per tar, as the original's resharder has it."""
SHARD = "{:08d}.tar"
STATS = "{:08d}_stats.json"
SAMPLE_IDS = "sample_ids.npy"
META = "meta.json"
INDEX = "index.npy"
LAYOUT = 1
"""Raised when the bytes that a subset gives change, so that old cache entries are not taken for new ones."""

PLACE = np.dtype(
    [("shard", "<i4"), ("image_offset", "<i8"), ("image_size", "<i8"), ("text_offset", "<i8"), ("text_size", "<i8")]
)
"""One row of the index: the tar a sample lies in and the bytes of its image and caption."""

Report = Callable[[int, int], None]
"""Told samples written and samples in all; may raise to stop the work."""


@dataclass(frozen=True)
class Selection:
    """What of a subset can be trained on here."""

    uids: Uids
    """Sorted, repeats kept, only samples whose image is at hand."""
    unavailable: int
    """Rows of the subset whose image is not."""

    @property
    def unique(self) -> int:
        """Distinct samples."""
        pair = halves(self.uids)
        return 1 + int((pair[1:] != pair[:-1]).any(axis=1).sum())

    @property
    def digest(self) -> str:
        """Digest of the uids as little-endian `u8,u8` bytes."""
        sha = hashlib.sha256()
        sha.update(np.ascontiguousarray(self.uids.astype(UID_DTYPE, copy=False)).view(np.uint8).data)
        return sha.hexdigest()


@dataclass(frozen=True)
class SubsetShards:
    """A complete folder of subset shards."""

    directory: Path
    samples: int
    shards: int

    @property
    def index(self) -> npt.NDArray[np.void]:
        """Where every sample lies: shape (samples,), dtype `PLACE`, mapped."""
        index: npt.NDArray[np.void] = np.load(self.directory / INDEX, mmap_mode="r", allow_pickle=False)
        return index

    def tar(self, number: int) -> Path:
        """The tar of that number."""
        return self.directory / SHARD.format(number)


def select(pool: Pool, uids: Uids, *, limit: int | None = None) -> Selection:
    """The rows of a sorted subset that have an image here; at most `limit` of them, evenly spread.

    `BadInput`: `uids-unknown` when the pool lacks some, `subset-without-images` when none is left. `PlatformFault`
    `pool-without-images` when this host has metadata alone.
    """
    rows = pool.rows_of(uids)
    if (rows < 0).any():
        raise BadInput(unknown_problem(np.flatnonzero(rows < 0), uids))
    if not pool.manifest.tars:
        hint = "download the pool's images to this host and ingest it again"
        raise PlatformFault.of(
            "pool-without-images", "this host has the pool's metadata alone", str(pool.directory), hint
        )
    at_hand = pool.available[rows] if rows.size else np.empty(0, bool)
    kept = np.asarray(uids)[at_hand]
    if not kept.size:
        message = f"none of the subset's {uids.size:,} samples has an image on this site"
        hint = "choose other samples, or ask the organiser which images could not be downloaded"
        raise BadInput.of("subset-without-images", message, hint=hint)
    if limit is not None and kept.size > limit:
        kept = kept[np.linspace(0, kept.size - 1, limit).astype(np.int64)]
    return Selection(kept, int(uids.size - at_hand.sum()))


def materialise(
    pool: Pool, selection: Selection, scratch: Path, *, report: Report, check: Callable[[], None]
) -> SubsetShards:
    """The shards of a selection under `scratch`, made now unless they are there already.

    Two workers of one host that want the same shards make them once: the second waits, calling `check`, which may
    raise to stop waiting. `PlatformFault` when the pool's tars do not fit its pack.
    """
    parent = scratch / "subsets"
    parent.mkdir(parents=True, exist_ok=True)
    key = digest_json([LAYOUT, pool.manifest.digest, selection.digest])
    final, part = parent / key, parent / f"{key}.part"
    with _locked(parent / f"{key}.lock", check):
        if not (final / META).is_file():
            shutil.rmtree(final, ignore_errors=True)
            shutil.rmtree(part, ignore_errors=True)  # left by a worker that was killed
            try:
                reshard(pool, selection.uids, part, report=report)
                part.rename(final)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return open_shards(final)


@contextmanager
def _locked(path: Path, check: Callable[[], None]) -> Iterator[None]:
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                time.sleep(0.1)
        yield  # closing the file, or dying, gives the lock back


def open_shards(directory: Path) -> SubsetShards:
    """A complete folder of subset shards; `PlatformFault` when it is not one."""
    try:
        meta = json.loads((directory / META).read_text())
        return SubsetShards(directory, int(meta["output_count"]), int(meta["output_shard_count"]))
    except (OSError, ValueError, KeyError) as error:
        hint = "remove the folder; it is made again"
        raise PlatformFault.of("subset-shards-damaged", f"unreadable {META}: {error}", str(directory), hint) from error


def reshard(
    pool: Pool, uids: Uids, directory: Path, *, shard_size: int = SHARD_SIZE, report: Report = lambda done, total: None
) -> SubsetShards:
    """Write the shards of a sorted subset, all of whose samples have an image, into a new directory."""
    directory.mkdir(parents=True)
    rows, repeats = _rows_in_tar_order(pool, uids)
    image_offset, text_offset = pool.column("image_offset"), pool.column("text_offset")
    index = np.lib.format.open_memmap(directory / INDEX, "w+", PLACE, (int(repeats.sum()),))
    writer = _ShardWriter(directory, shard_size, index, report)
    try:
        for number, begin, end in _by_tar(pool, rows):
            with _mapped(pool, number) as tar:
                for row, times in zip(rows[begin:end], repeats[begin:end], strict=True):
                    places = int(image_offset[row]), int(text_offset[row])
                    writer.write(_sample(pool, tar, number, int(row), places), int(times))
    finally:
        writer.close()
    index.flush()
    with (directory / SAMPLE_IDS).open("wb") as file:
        np.save(file, uids.astype(UID_DTYPE, copy=False), allow_pickle=False)
    meta = {
        "output_shard_count": writer.shards,
        "output_shard_format": SHARD,
        "output_shard_stats_format": STATS,
        "shard_size": shard_size,
        "processed_count": int(rows.size),
        "output_count": writer.written,
    }
    (directory / META).write_text(json.dumps(meta, indent=1))
    return SubsetShards(directory, writer.written, writer.shards)


def _rows_in_tar_order(pool: Pool, uids: Uids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct rows in the order in which they lie in the tars, and how often each repeats."""
    rows, repeats = np.unique(pool.rows_of(uids), return_counts=True)
    place = np.lexsort((np.asarray(pool.column("image_offset"))[rows], np.asarray(pool.column("tar"))[rows]))
    return rows[place].astype(np.int64), repeats[place].astype(np.int64)


def _by_tar(pool: Pool, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, int]]:
    """(tar, begin, end) for each tar that holds some of the rows."""
    numbers = np.asarray(pool.column("tar"))[rows]
    begins = np.flatnonzero(np.r_[True, numbers[1:] != numbers[:-1]])
    for begin, end in zip(begins, [*begins[1:], rows.size], strict=True):
        yield int(numbers[begin]), int(begin), int(end)


@contextmanager
def _mapped(pool: Pool, number: int) -> Iterator[mmap.mmap]:
    path = pool.tar_file(number)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size != pool.manifest.tars[number].size:
                hint = "restore the tar, or ingest the pool again"
                raise PlatformFault.of("pool-changed", "the tar has changed since ingestion", str(path), hint)
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
                yield tar
    except FileNotFoundError as error:
        raise PlatformFault.of("pool-shard-missing", "the tar is gone", str(path), "restore the tar") from error


def _sample(pool: Pool, tar: mmap.mmap, number: int, row: int, places: tuple[int, int]) -> tarbytes.Sample:
    uid = to_hex(pool.uids[row : row + 1])[0]
    try:
        return tarbytes.read_sample(tar, uid, *places)
    except ValueError as error:
        hint = "restore the tar, or ingest the pool again"
        where = f"{pool.tar_file(number)}: {uid}"
        raise PlatformFault.of("pool-shard-unreadable", str(error), where, hint) from error


class _ShardWriter:
    """Writes samples into numbered tars and notes where each one went."""

    def __init__(self, directory: Path, shard_size: int, index: npt.NDArray[np.void], report: Report) -> None:
        self._directory, self._shard_size, self._index, self._report = directory, shard_size, index, report
        self._tar: tarbytes.TarWriter | None = None
        self._in_shard = 0
        self.shards = 0
        self.written = 0

    def write(self, sample: tarbytes.Sample, times: int) -> None:
        """Write a sample once per repeat."""
        for repeat in range(times):
            if self._tar is None or self._in_shard == self._shard_size:
                self._next()
            assert self._tar is not None  # noqa: S101 - for the type checker
            image, text = self._tar.write(f"{sample.uid}-{repeat}", sample)
            self._index[self.written] = (self.shards - 1, *image, *text)
            self._in_shard += 1
            self.written += 1
        self._report(self.written, self._index.size)

    def _next(self) -> None:
        self.close()
        self._tar = tarbytes.TarWriter(self._directory / SHARD.format(self.shards))
        self.shards += 1
        self._in_shard = 0

    def close(self) -> None:
        """Complete the tar in progress."""
        if self._tar is not None:
            self._tar.close()
            stats = self._directory / STATS.format(self.shards - 1)
            stats.write_text(json.dumps({"successes": self._in_shard}))
            self._tar = None
