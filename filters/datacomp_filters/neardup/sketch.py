"""Sketches: short whole numbers in place of long rows, so that most pairs are dismissed at an eighth of the work.

A row of unit length is multiplied with a fixed matrix of random signs. The distance of two sketches is that of the rows
times a factor whose square is distributed like chi-square over its degrees of freedom, whatever the rows are (Johnson
and Lindenstrauss 1984; with signs: Achlioptas 2003). Pairs that lie further apart than nearly every near pair
can are dismissed; the others are decided from the rows themselves.

Sketches are whole numbers of a length below 2**11. All products and partial sums of their squared distances are whole
numbers up to 2**24, which float32 holds exactly: distances depend neither on order and threads nor on the processor.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.mapped import new_mapped
from datacomp_filters.neardup.progress import Tick, unheard
from datacomp_filters.neardup.rows import BLOCK, Bools, Indices, Rows
from datacomp_filters.neardup.spread import spread

WIDTH = 62
"""Numbers of a sketch: with its squared length and a one, products are 64 wide."""
SCALE = 1024
"""Mean length of a sketch."""
LONGEST = 2040
"""No sketch is longer, before rounding. Longer ones, which no honest row has, are shortened."""
STRETCH = 2.08
"""A near pair's sketches are further apart than the square root of this times the rows once in a million (chi-square
of 62 degrees of freedom)."""
SEED = b"datacomp near-duplicates"
_ONE_AT_A_TIME = threading.Lock()
"""FAISS's resources on a GPU serve one thread at a time."""

Whole = npt.NDArray[np.int16]
Single = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sketches:
    """Sketches of n rows."""

    points: Whole
    """Shape (n, WIDTH); zeros for rows without a usable feature."""
    squares: Single
    """Squared lengths, shape (n,), whole numbers."""

    @classmethod
    def of(cls, rows: Rows, scratch: Path | None = None, tick: Tick = unheard) -> Sketches:
        """Sketch all rows. They go to a file in the directory `scratch`, if given, which is mapped: memory stays
        bounded."""
        shape = (len(rows.features), WIDTH)
        points = np.zeros(shape, np.int16) if scratch is None else _mapped(scratch, shape)
        squares = np.zeros(shape[0], np.float32)
        signs = _signs(rows.features.shape[1])
        usable = rows.usable

        def draw(start: int) -> int:
            index = start + np.flatnonzero(usable[start : start + BLOCK])
            found = rows.exact(index) @ signs  # exact, as all sums of rows are
            found *= (SCALE / np.sqrt(rows.squares[index] * WIDTH))[:, None]
            lengths = np.sqrt(np.einsum("ij,ij->i", found, found))
            if (lengths > LONGEST).any():
                found *= np.minimum(1, LONGEST / lengths)[:, None]
            whole = np.rint(found)
            points[index] = whole
            squares[index] = np.einsum("ij,ij->i", whole, whole)
            return min(BLOCK, shape[0] - start)

        for done in spread(draw, range(0, shape[0], BLOCK)):
            tick(done)
        return cls(points, squares)

    @classmethod
    def around(cls, points: Whole) -> Sketches:
        """Points among sketches, such as centroids, as sketches."""
        wide = points.astype(np.float32)
        return cls(points, np.einsum("ij,ij->i", wide, wide))

    def left(self, index: Indices) -> Single:
        """Factor of `nearness` for these rows, shape (len(index), WIDTH + 2)."""
        factor = np.empty((len(index), WIDTH + 2), np.float32)
        np.multiply(self.points[index], 2, out=factor[:, :WIDTH], casting="unsafe", dtype=np.float32)
        factor[:, WIDTH] = -self.squares[index]
        factor[:, WIDTH + 1] = -1
        return factor

    def right(self, index: Indices) -> Single:
        """The other factor, of the same shape."""
        factor = np.empty((len(index), WIDTH + 2), np.float32)
        factor[:, :WIDTH] = self.points[index]
        factor[:, WIDTH] = 1
        factor[:, WIDTH + 1] = self.squares[index]
        return factor


def nearness(left: Single, right: Single) -> Single:
    """Squared distances of sketches, negative, so that more is nearer: shape (len(left), len(right)). On a GPU where
    FAISS has one, to the same numbers."""
    resources = _gpu()
    if resources is None:
        return left @ right.T
    import faiss

    with _ONE_AT_A_TIME:
        found: Single = faiss.pairwise_distance_gpu(resources, left, right, metric=faiss.METRIC_INNER_PRODUCT)
    return found


def reach(threshold: float) -> float:
    """Squared distance up to which two sketches may belong to rows whose cosine is at least `threshold`."""
    rounding = np.sqrt(WIDTH)
    return float((np.sqrt(STRETCH * (2 - 2 * threshold)) * SCALE + rounding) ** 2)


def within(left: Single, right: Single, limit: float) -> tuple[Indices, Indices]:
    """Places (i, j) of the pairs whose squared distance is at most `limit`."""
    close: Bools = nearness(left, right) >= -limit
    i, j = np.divmod(np.flatnonzero(close), len(right))
    return i, j


@cache
def _gpu() -> Any:
    """FAISS's resources on a GPU; None without one."""
    import faiss

    if not faiss.get_num_gpus() or not hasattr(faiss, "StandardGpuResources"):
        return None
    return faiss.StandardGpuResources()


def _signs(width: int) -> npt.NDArray[np.float64]:
    """The matrix of random signs, shape (width, WIDTH), the same everywhere."""
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(SEED).digest(8 * width), np.uint8)).reshape(width, 64)
    return np.where(bits[:, :WIDTH], 1.0, -1.0)


def _mapped(scratch: Path, shape: tuple[int, int]) -> Whole:
    return new_mapped(scratch / "sketches.npy", np.int16, shape)
