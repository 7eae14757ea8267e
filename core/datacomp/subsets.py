"""Operations on subsets: sorted uids, perhaps with repeats.

Repeats follow the rules of multisets: if A holds a uid a times and B holds it b times, the union holds it max(a, b)
times and the intersection min(a, b) times. The difference A - B holds it a times when b is 0, else not at all: a
subset says what is trained on, and what is taken out of it is not trained on, however often it was in.

Everything here takes sorted arrays (`uids.read_subset`), mapped or not, and gives sorted arrays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, find, halves, place, write_subset


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


def save(path: Path, uids: Uids) -> None:
    """Write a subset, complete or not at all. `BadInput` when that cannot be done."""
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        write_subset(temporary, uids)
        temporary.replace(path)
    except OSError as error:
        raise BadInput.of("out-unwritable", f"cannot write the subset: {error}", where=str(path)) from error


def _where(uids: Uids, chosen: npt.NDArray[np.bool_]) -> Uids:
    """The chosen rows. As pairs of integers: half the time of gathering records."""
    rows: Uids = halves(uids).compress(chosen, axis=0).view(UID_DTYPE).reshape(-1)
    return rows


def _take(uids: Uids, rows: npt.NDArray[np.int64]) -> Uids:
    taken: Uids = halves(uids).take(rows, axis=0).view(UID_DTYPE).reshape(-1)
    return taken
