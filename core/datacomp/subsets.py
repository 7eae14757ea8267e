"""Operations on subsets: sorted uids, perhaps with repeats.

Repeats follow the rules of multisets: if A holds a uid a times and B holds it b times, the union holds it max(a, b)
times and the intersection min(a, b) times. The difference A - B holds it a times when b is 0, else not at all: a
subset says what is trained on, and what is taken out of it is not trained on, however often it was in.

Everything here takes sorted arrays (`uids.read_subset`), mapped or not, and gives sorted arrays. `stream` and `overlap`
hold a window of both at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, bisect, find, halves, place, release, sort


@dataclass(frozen=True)
class Counted:
    """A subset as its different uids, and how often each is in it. Both have shape (n,)."""

    uids: Uids
    counts: npt.NDArray[np.int64]

    @classmethod
    def of(cls, subset: Uids) -> Counted:
        """Take a sorted subset apart."""
        pair = halves(subset)
        first = np.ones(subset.size, np.bool_)
        first[1:] = (pair[1:, 1] != pair[:-1, 1]) | (pair[1:, 0] != pair[:-1, 0])
        if first.all():
            return cls(subset, np.ones(subset.size, np.int64))
        begins = np.flatnonzero(first)
        return cls(_take(subset, begins), np.diff(begins, append=subset.size))

    def join(self) -> Uids:
        """The sorted subset."""
        if (self.counts == 1).all():
            return np.array(self.uids, UID_DTYPE)
        return _take(self.uids, np.repeat(np.arange(self.uids.size), self.counts))


def union(a: Uids, b: Uids) -> Uids:
    """Every uid of either, as often as in the one that has it more often."""
    one, other = Counted.of(a), Counted.of(b)
    at = find(one.uids, other.uids)
    both = np.flatnonzero(at >= 0)
    counts = one.counts.copy()
    counts[both] = np.maximum(counts[both], other.counts[at[both]])
    alone = np.ones(other.uids.size, np.bool_)
    alone[at[both]] = False
    return merge(Counted(one.uids, counts).join(), Counted(_where(other.uids, alone), other.counts[alone]).join())


def intersect(a: Uids, b: Uids) -> Uids:
    """Every uid of both, as often as in the one that has it less often."""
    one, other = Counted.of(a), Counted.of(b)
    at = find(one.uids, other.uids)
    both = at >= 0
    return Counted(_where(one.uids, both), np.minimum(one.counts[both], other.counts[at[both]])).join()


def difference(a: Uids, b: Uids) -> Uids:
    """Every uid of A that B has not, as often as in A."""
    return _where(a, find(a, b) < 0)


OPERATIONS: dict[str, Callable[[Uids, Uids], Uids]] = {
    "union": union,
    "intersect": intersect,
    "difference": difference,
}


WINDOW = 1 << 20
"""Rows of each subset in memory at a time, unless one uid repeats more often."""


def stream(operation: str, a: Uids, b: Uids) -> Iterator[Uids]:
    """The result of an operation of `OPERATIONS`, piece by piece in order."""
    for own, other in _windows(a, b):
        yield OPERATIONS[operation](own, other)


def _windows(a: Uids, b: Uids) -> Iterator[tuple[Uids, Uids]]:
    """Both arrays cut at the same uids, so that all rows of a uid are in one window."""
    at = {0: 0, 1: 0}
    arrays = {0: a, 1: b}
    while any(at[i] < arrays[i].size for i in arrays):
        full = [arrays[i][at[i] + WINDOW :][:1] for i in arrays if at[i] + WINDOW < arrays[i].size]
        stops = {i: array.size for i, array in arrays.items()}
        for side in ("left", "right") if full else ():
            bound = sort(np.concatenate(full))[:1]
            stops = {i: int(bisect(bound, array, side)[0]) for i, array in arrays.items()}
            if stops != at:
                break  # else one uid fills the window: all of its rows
        yield a[at[0] : stops[0]], b[at[1] : stops[1]]
        at = stops
        release(a)
        release(b)


@dataclass(frozen=True)
class Overlap:
    """How much two subsets have in common."""

    rows_a: int
    rows_b: int
    rows_both: int
    """Rows of the intersection, repeats counted."""
    unique_a: int
    unique_b: int
    unique_both: int

    @property
    def share_of_a(self) -> float:
        """Share of A's uids that B has, 0 for an empty A."""
        return self.unique_both / self.unique_a if self.unique_a else 0.0

    @property
    def share_of_b(self) -> float:
        """Share of B's uids that A has."""
        return self.unique_both / self.unique_b if self.unique_b else 0.0

    @property
    def jaccard(self) -> float:
        """Uids in both, of those in either; 0 for two empty subsets."""
        either = self.unique_a + self.unique_b - self.unique_both
        return self.unique_both / either if either else 0.0


def overlap(a: Uids, b: Uids) -> Overlap:
    """Measure what two subsets have in common."""
    total = np.zeros(6, np.int64)
    for own, other in _windows(a, b):
        found = _overlap(own, other)
        total += (found.rows_a, found.rows_b, found.rows_both, found.unique_a, found.unique_b, found.unique_both)
    return Overlap(*map(int, total))


def _overlap(a: Uids, b: Uids) -> Overlap:
    one, other = Counted.of(a), Counted.of(b)
    at = find(one.uids, other.uids)
    both = at >= 0
    rows = int(np.minimum(one.counts[both], other.counts[at[both]]).sum())
    return Overlap(int(a.size), int(b.size), rows, int(one.uids.size), int(other.uids.size), int(both.sum()))


def merge(a: Uids, b: Uids) -> Uids:
    """All rows of two sorted arrays, sorted."""
    if not a.size or not b.size:
        return np.array(a if a.size else b, UID_DTYPE)
    few, many = (a, b) if a.size < b.size else (b, a)
    merged = np.empty((a.size + b.size, 2), np.uint64)
    of_few = np.zeros(len(merged), np.bool_)
    of_few[place(few, many) + np.arange(few.size)] = True
    merged[of_few] = halves(few)
    merged[~of_few] = halves(many)
    rows: Uids = merged.view(UID_DTYPE).reshape(-1)
    return rows


def save(path: Path, pieces: Iterable[Uids]) -> int:
    """Write a subset that comes piece by piece in order, complete or not at all; returns its rows.

    `BadInput` when the file cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    rows = 0
    try:
        with temporary.open("wb") as file:
            _write_header(file, 0)
            for piece in pieces:
                file.write(np.ascontiguousarray(piece, UID_DTYPE).view(np.uint8).data)
                rows += int(piece.size)
            file.seek(0)
            _write_header(file, rows)  # as long as the first: NumPy leaves room for the number to grow
        temporary.replace(path)
        return rows
    except OSError as error:
        raise BadInput.of("out-unwritable", f"cannot write the subset: {error}", where=str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def _write_header(file: BinaryIO, rows: int) -> None:
    header = {"descr": np.lib.format.dtype_to_descr(UID_DTYPE), "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(file, header)


def _where(uids: Uids, chosen: npt.NDArray[np.bool_]) -> Uids:
    """The chosen rows. As pairs of integers: half the time of gathering records."""
    rows: Uids = halves(uids).compress(chosen, axis=0).view(UID_DTYPE).reshape(-1)
    return rows


def _take(uids: Uids, rows: npt.NDArray[np.int64]) -> Uids:
    taken: Uids = halves(uids).take(rows, axis=0).view(UID_DTYPE).reshape(-1)
    return taken
