"""Which of two sets of rows are near each other: candidates by sketches, decided in float64."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.rows import Bools, Indices, Rows
from datacomp_filters.neardup.sketch import Single, Sketches, reach, within

SIDE = 1024
"""Rows on a side of one comparison: the product fits the cache."""
VERIFY_BLOCK = 1024
DENSE = 1 / 64
"""Share of candidates from which one product of all rows costs less than gathering pairs."""


@dataclass(frozen=True)
class Comparer:
    """Decides whether cosine(a, b) >= threshold."""

    rows: Rows
    sketches: Sketches
    threshold: float

    @property
    def margin(self) -> float:
        """Bound on the error of a float32 cosine: rounding of d products and sums and of both unit rows."""
        return float((self.rows.features.shape[1] + 16) * 2.0**-23)

    def near_pairs(self, left: Indices, right: Indices) -> Iterator[tuple[Indices, Indices]]:
        """Near pairs of a row of `left` and one of `right`, tile by tile."""
        for i in range(0, len(left), SIDE):
            mine = left[i : i + SIDE]
            factor = self.sketches.left(mine)
            for j in range(0, len(right), SIDE):
                theirs = right[j : j + SIDE]
                a, b = within(factor, self.sketches.right(theirs), reach(self.threshold))
                yield self._near_of(mine, theirs, a, b)

    def near_pairs_among(self, rows: Indices) -> Iterator[tuple[Indices, Indices]]:
        """Near pairs (earlier, later) of a row and one that comes after it, tile by tile."""
        for i in range(0, len(rows), SIDE):
            mine = rows[i : i + SIDE]
            factor = self.sketches.left(mine)
            a, b = within(factor, self.sketches.right(mine), reach(self.threshold))
            yield self._near_of(mine, mine, a[a < b], b[a < b])
            yield from self.near_pairs(mine, rows[i + SIDE :])

    def cosines(self, left: Indices, right: Indices) -> Single:
        """All cosines in float32, good to `margin`: shape (len(left), len(right)), the caller's to bound."""
        return self.rows.unit(left) @ self.rows.unit(right).T

    def decide(self, left: Indices, right: Indices, cosines: Single) -> Bools:
        """Whether the pairs (left[i], right[i]) are near, given their cosines in float32."""
        near: Bools = cosines >= self.threshold + self.margin
        doubtful = np.flatnonzero(np.abs(cosines - self.threshold) <= self.margin)
        near[doubtful] = self._exactly_near(left[doubtful], right[doubtful])
        return near

    def _near_of(self, left: Indices, right: Indices, a: Indices, b: Indices) -> tuple[Indices, Indices]:
        """Of the candidates (left[a], right[b]) those that are near, as rows."""
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
