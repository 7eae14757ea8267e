"""Which of two sets of rows are near each other: candidates in float32, decided in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.rows import Bools, Indices, Rows

VERIFY_BLOCK = 4096


@dataclass(frozen=True)
class Comparer:
    """Decides whether cosine(a, b) >= threshold."""

    rows: Rows
    threshold: float

    @property
    def margin(self) -> float:
        """Bound on the error of a float32 cosine: rounding of d products and sums and of both unit rows."""
        return float((self.rows.features.shape[1] + 16) * 2.0**-23)

    def near(self, left: Indices, right: Indices) -> Bools:
        """Matrix of shape (len(left), len(right)). Its size is the caller's to bound."""
        cosines = self.rows.unit(left) @ self.rows.unit(right).T
        near: Bools = cosines >= self.threshold + self.margin
        doubtful = np.abs(cosines - self.threshold) <= self.margin
        if doubtful.any():
            i, j = np.nonzero(doubtful)
            near[i, j] = self._decide(left[i], right[j])
        return near

    def _decide(self, left: Indices, right: Indices) -> Bools:
        verdict = np.empty(len(left), np.bool_)
        for start in range(0, len(left), VERIFY_BLOCK):
            part = slice(start, start + VERIFY_BLOCK)
            verdict[part] = self._exactly_near(left[part], right[part])
        return verdict

    def _exactly_near(self, left: Indices, right: Indices) -> Bools:
        products: npt.NDArray[np.float64] = np.einsum("ij,ij->i", self.rows.exact(left), self.rows.exact(right))
        lengths = np.sqrt(self.rows.squares[left]) * np.sqrt(self.rows.squares[right])
        return np.asarray(products >= self.threshold * lengths)
