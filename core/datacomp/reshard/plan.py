"""What goes into which shard: settled before anything is written, by the subset and the tars alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.reshard.index import TarIndex
from datacomp.uids import UID_DTYPE, Uids, bisect, find, halves

SHARD_SIZE = 10_000
"""Samples per tar, as the original's resharder has it."""
SHARD_BYTES = 3_000_000_000
"""A tar takes no further sample once its files have this many bytes: the original's limit."""
SHARD_MORE = 32_768
"""Bytes that a shard takes beside its samples: its end, its figures, the disk's own."""
ROW = np.dtype([("uid", UID_DTYPE), ("tar", "<i4"), ("start", "<i8"), ("stop", "<i8"), ("size", "<i8"), ("end", "<i8")])
"""A sample to copy: where it lies, and how many copies it and all before it make."""


@dataclass(frozen=True)
class Plan:
    """The samples to copy in the order of the tars, and where each shard begins."""

    rows: npt.NDArray[np.void]
    """Dtype `ROW`, mapped."""
    begins: npt.NDArray[np.int64]
    """Copy at which each shard begins, and the number of copies: shape (shards + 1,)."""

    @property
    def copies(self) -> int:
        """Samples to write, repeats counted."""
        return int(self.begins[-1])

    def bytes(self, numbers: Iterable[int]) -> int:
        """Bytes that these shards take on the disk, about."""
        ends = np.ascontiguousarray(self.rows["end"])
        volume = np.cumsum((self.rows["stop"] - self.rows["start"]) * np.diff(ends, prepend=0))
        at = [int(volume[np.searchsorted(ends, copy)]) if copy else 0 for copy in self.begins.tolist()]
        return sum(at[number + 1] - at[number] + SHARD_MORE for number in numbers)

    def shard(self, number: int) -> list[tuple[int, int, int]]:
        """A shard's (row, first copy, copies) in order."""
        begin, end = int(self.begins[number]), int(self.begins[number + 1])
        ends = self.rows["end"]
        first, last = int(np.searchsorted(ends, begin, "right")), int(np.searchsorted(ends, end, "left"))
        rows = np.arange(first, last + 1)
        own = np.where(rows > 0, ends[rows - 1], 0)
        start, stop = np.maximum(own, begin), np.minimum(ends[rows], end)
        return list(zip(rows.tolist(), (start - own).tolist(), (stop - start).tolist(), strict=True))


@dataclass(frozen=True)
class Found:
    """What the tars hold of a subset."""

    processed: int
    """Samples in the tars."""
    skipped: int
    """Samples without a uid."""
    twice: int
    """Samples of the subset that come again in the tars: the first is copied."""
    there: npt.NDArray[np.bool_]
    """Which rows of the subset were found, its first of each uid alone: shape (rows,)."""

    def missing(self, subset: Uids) -> npt.NDArray[np.int64]:
        """Rows of the subset, the first of each uid, that no tar has."""
        pair = halves(subset)
        first = np.ones(subset.size, np.bool_)
        first[1:] = (pair[1:] != pair[:-1]).any(axis=1)
        return np.flatnonzero(first & ~self.there)


def write_plan(path: Path, indexes: Iterable[TarIndex], subset: Uids, step: Callable[[], None]) -> Found:
    """Write the rows to copy, tar by tar; `step` is called after each tar."""
    there = np.zeros(subset.size, np.bool_)
    processed = skipped = twice = copies = 0
    with path.open("wb") as file:
        for number, index in enumerate(indexes):
            uids = index.uids
            place = find(uids, subset)
            kept = np.flatnonzero(place >= 0)
            _, first = np.unique(place[kept], return_index=True)
            fresh = kept[np.sort(first)]
            fresh = fresh[~there[place[fresh]]]
            twice += kept.size - fresh.size
            there[place[fresh]] = True
            ends = copies + np.cumsum(bisect(uids[fresh], subset, "right") - place[fresh])
            copies = int(ends[-1]) if ends.size else copies
            _rows(index, fresh, number, ends).tofile(file)
            processed += index.samples
            skipped += index.skipped
            step()
    return Found(processed, skipped, twice, there)


def _rows(index: TarIndex, chosen: npt.NDArray[np.int64], tar: int, ends: npt.NDArray[Any]) -> npt.NDArray[np.void]:
    rows = np.empty(chosen.size, ROW)
    rows["tar"], rows["end"] = tar, ends
    for name in ("uid", "start", "stop", "size"):
        rows[name] = index.rows[name][chosen]
    return rows


def read_plan(path: Path, shard_size: int) -> Plan:
    """Cut the rows into shards. `BadInput` when the tars hold nothing of the subset."""
    if not path.stat().st_size:
        hint = "are these the tars of the pool that the subset was chosen from?"
        raise BadInput.of("subset-not-in-shards", "the tars hold no sample of the subset", hint=hint)
    rows: npt.NDArray[np.void] = np.memmap(path, ROW, "r")
    return Plan(rows, _begins(rows, shard_size))


def _begins(rows: npt.NDArray[np.void], shard_size: int) -> npt.NDArray[np.int64]:
    ends = np.ascontiguousarray(rows["end"])
    total = int(ends[-1])
    times = np.diff(ends, prepend=0)
    volume = np.cumsum(rows["size"] * times)
    begins = [0]
    while begins[-1] < total:
        row = int(np.searchsorted(ends, begins[-1], "right"))
        before = int(volume[row]) - int(ends[row] - begins[-1]) * int(rows["size"][row])
        full = int(np.searchsorted(volume, before + SHARD_BYTES))
        begins.append(min(begins[-1] + shard_size, _copies_until(ends, volume, rows, full, before), total))
    return np.array(begins, np.int64)


def _copies_until(ends: Any, volume: Any, rows: Any, row: int, before: int) -> int:
    """The copy that fills a shard which begins after `before` bytes, counted from 1: it lies in `row`."""
    if row >= len(ends):
        return int(ends[-1])
    size, last = max(int(rows["size"][row]), 1), int(ends[row])
    beyond = int(volume[row]) - (before + SHARD_BYTES)
    return last - beyond // size
