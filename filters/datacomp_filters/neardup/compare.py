"""Which of two sets of rows are near each other: candidates by sketches, decided in float64."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.rows import Bools, Indices, Rows
from datacomp_filters.neardup.sketch import Single, Sketches, reach, within
from datacomp_filters.neardup.spread import spread

SIDE = 1024
"""Rows on a side of one comparison: the product fits the cache."""
VERIFY_BLOCK = 1024
DENSE = 1 / 64
"""Share of candidates from which one product of all rows costs less than gathering pairs."""
Tile = tuple[Indices, Indices]
"""Rows to be compared with rows; twice the same object: each with those that come after it."""


def tiles_between(left: Indices, right: Indices) -> Iterator[Tile]:
    """Every row of `left` with every one of `right`."""
    for i in range(0, len(left), SIDE):
        for j in range(0, len(right), SIDE):
            yield left[i : i + SIDE], right[j : j + SIDE]


def tiles_among(rows: Indices) -> Iterator[Tile]:
    """Every row with each that comes after it."""
    for i in range(0, len(rows), SIDE):
        mine = rows[i : i + SIDE]
        yield mine, mine
        yield from tiles_between(mine, rows[i + SIDE :])


def margin(width: int) -> float:
    """Bound on the error of a float32 cosine: rounding of d products and sums and of both unit rows."""
    return (width + 16) * 2.0**-23


def exact_cosines(left: Rows, i: Indices, right: Rows, j: Indices) -> npt.NDArray[np.float64]:
    """Cosines of the pairs (left[i], right[j]), from exact products and lengths."""
    found = np.empty(len(i))
    for start in range(0, len(i), VERIFY_BLOCK):
        a, b = i[start : start + VERIFY_BLOCK], j[start : start + VERIFY_BLOCK]
        products = np.einsum("ij,ij->i", left.exact(a), right.exact(b))
        found[start : start + VERIFY_BLOCK] = products / (np.sqrt(left.squares[a]) * np.sqrt(right.squares[b]))
    return found


@dataclass(frozen=True)
class Comparer:
    """Decides whether cosine(a, b) >= threshold."""

    rows: Rows
    sketches: Sketches
    threshold: float

    @property
    def margin(self) -> float:
        """Bound on the error of a float32 cosine."""
        return margin(self.rows.features.shape[1])

    def near_pairs(self, tiles: Iterable[Tile]) -> Iterator[tuple[Indices, Indices]]:
        """Near pairs (a row of the left, one of the right) tile by tile, each tile on a thread."""
        yield from spread(self._near_of, tiles)

    def cosines(self, left: Indices, right: Indices) -> Single:
        """All cosines in float32, good to `margin`: shape (len(left), len(right)), the caller's to bound."""
        return self.rows.unit(left) @ self.rows.unit(right).T

    def decide(self, left: Indices, right: Indices, cosines: Single) -> Bools:
        """Whether the pairs (left[i], right[i]) are near, given their cosines in float32."""
        near: Bools = cosines >= self.threshold + self.margin
        doubtful = np.flatnonzero(np.abs(cosines - self.threshold) <= self.margin)
        near[doubtful] = self._exactly_near(left[doubtful], right[doubtful])
        return near

    def _near_of(self, tile: Tile) -> tuple[Indices, Indices]:
        left, right = tile
        a, b = within(self.sketches.left(left), self.sketches.right(right), reach(self.threshold))
        if left is right:
            a, b = a[a < b], b[a < b]
        one, other = left[a], right[b]
        if a.size > DENSE * left.size * right.size:
            near = self.decide(one, other, self.cosines(left, right)[a, b])
        else:
            near = self._exactly_near(one, other)
        return one[near], other[near]

    def _exactly_near(self, left: Indices, right: Indices) -> Bools:
        near = np.empty(len(left), np.bool_)
        for start in range(0, len(left), VERIFY_BLOCK):
            one, other = left[start : start + VERIFY_BLOCK], right[start : start + VERIFY_BLOCK]
            products: npt.NDArray[np.float64] = np.einsum("ij,ij->i", self.rows.exact(one), self.rows.exact(other))
            lengths = np.sqrt(self.rows.squares[one]) * np.sqrt(self.rows.squares[other])
            near[start : start + VERIFY_BLOCK] = products >= self.threshold * lengths
        return near
