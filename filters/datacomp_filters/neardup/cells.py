"""K-means cells of sketches: near rows share one, so that only rows of one cell are compared.

Every row is in the cell whose centroid is nearest, its own, and a guest in each cell that a near row may own. Of two
near rows on either side of the plane between two centroids, one lies no further from it than half their distance
along the direction between the centroids. Along one direction that is seldom more than a few standard deviations, for
which near rows are taken to differ in the directions in which rows of a cell do.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.progress import Tick, unheard
from datacomp_filters.neardup.rows import Indices
from datacomp_filters.neardup.sketch import SCALE, WIDTH, Single, Sketches, Whole, nearness
from datacomp_filters.neardup.spread import spread

ROWS_PER_CELL = 2000
MOST_CELLS = 12
"""Cells of one row."""
DEVIATIONS = 2.25
"""A row is a guest up to this far from the plane: half of how far two rows at the threshold may lie apart across it."""
SAMPLE_PER_CELL = 128
ITERATIONS = 8
SEED = 20_230_427
Matrix = npt.NDArray[np.float64]
PRODUCTS = 1 << 20
"""Distances to centroids that a thread holds."""


@dataclass(frozen=True)
class Cells:
    """Each row's cells."""

    centroids: Whole
    """Shape (k, WIDTH), among sketches."""
    variance: Matrix
    """Covariance of rows about their own centroids, shape (WIDTH, WIDTH), with a trace of 1."""
    nearest: npt.NDArray[np.int32]
    """Shape (n, c): its own, then those where it is a guest, from the nearest on; -1 where there is none."""

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.centroids)

    def digest(self, by_uid: Indices) -> str:
        """Digest of the cell ids, rows taken in the order `by_uid`."""
        ids = np.ascontiguousarray(self.nearest[by_uid].astype("<i4"))
        return hashlib.sha256(f"{self.count}\n".encode() + ids.tobytes()).hexdigest()

    def members(self, rows: Indices) -> Iterator[tuple[int, Indices, Indices]]:
        """Cell by cell its id, those of the given rows that it owns, in the given order, and its guests among them.
        Every pair of rows that share a cell which owns one of them is to be compared there."""
        cell = self.nearest[rows].T.reshape(-1)
        inside = np.flatnonzero(cell >= 0)
        order = inside[np.argsort(cell[inside], kind="stable")]
        bounds = np.flatnonzero(np.diff(cell[order])) + 1
        for part in np.split(order, bounds):
            if part.size:
                owned = np.searchsorted(part, len(rows))  # places count through all own cells first
                yield int(cell[part[0]]), rows[part[:owned]], rows[part[owned:] % len(rows)]


def build(sketches: Sketches, by_uid: Indices, threshold: float, tick: Tick = unheard) -> Cells:
    """Train centroids on a sample of the usable rows `by_uid`, in uid order, and give these rows their cells, so that
    rows whose cosine is at least `threshold` share one. Depends neither on the order of rows nor on threads. `tick`
    hears of rows."""
    count = round(min(len(by_uid) / ROWS_PER_CELL, math.sqrt(len(by_uid))))
    if count <= 1:
        return one_cell(len(sketches.points), by_uid)
    sample = np.random.default_rng(SEED).choice(len(by_uid), min(len(by_uid), count * SAMPLE_PER_CELL), replace=False)
    chosen = by_uid[np.sort(sample)]
    centroids = train(sketches.points[chosen].astype(np.float32), count)
    variance = variance_about(centroids, sketches, chosen)
    return place(sketches, by_uid, centroids, variance, threshold, tick)


def one_cell(count: int, rows: Indices) -> Cells:
    """All of the given rows, of `count`, in one cell."""
    nearest = np.full((count, 1), -1, np.int32)
    nearest[rows, 0] = 0
    return Cells(np.zeros((1, WIDTH), np.int16), np.eye(WIDTH) / WIDTH, nearest)


def place(
    sketches: Sketches, rows: Indices, centroids: Whole, variance: Matrix, threshold: float, tick: Tick = unheard
) -> Cells:
    """The given rows in the cells around `centroids`, so that rows whose cosine is at least `threshold` share one."""
    slack = _slack(centroids, variance, threshold)
    return Cells(centroids, variance, assign(sketches, rows, centroids, slack, tick))


def variance_about(centroids: Whole, sketches: Sketches, rows: Indices) -> Matrix:
    """Covariance of rows about their nearest centroids, with a trace of 1. Sums are of whole numbers, and exact."""
    total = np.zeros((WIDTH, WIDTH))
    factor = Sketches.around(centroids).right(np.arange(len(centroids)))
    size = max(1, PRODUCTS // len(centroids))
    for start in range(0, len(rows), size):
        index = rows[start : start + size]
        own = nearness(sketches.left(index), factor).argmax(axis=1)
        apart = sketches.points[index].astype(np.float64) - centroids[own]
        total += apart.T @ apart
    trace = np.trace(total)
    return total / trace if trace else np.eye(WIDTH) / WIDTH


def _slack(centroids: Whole, variance: Matrix, threshold: float) -> Single:
    """How far from the plane between two centroids a row is a guest on the other side: shape (k, k), whole numbers, so
    that the last bits of the way there do not count. No direction is taken for narrower than the mean one."""
    wide = centroids.astype(np.float64)
    along = wide @ variance @ wide.T
    own = np.diagonal(along)
    share = (own[:, None] + own[None, :] - 2 * along) / _gaps(Sketches.around(centroids)).astype(np.float64) ** 2
    deviation = SCALE * math.sqrt(2 - 2 * threshold) * np.sqrt(np.maximum(share, 1 / WIDTH))
    return np.rint(DEVIATIONS * deviation + 1).astype(np.float32)


def _gaps(centroids: Sketches) -> Single:
    """Distances of centroids, at least 1: shape (k, k)."""
    every = np.arange(len(centroids.points))
    return np.sqrt(np.maximum(-nearness(centroids.left(every), centroids.right(every)), 1))


def train(points: Single, count: int) -> Whole:
    """Centroids of sketches by FAISS, rounded to whole numbers so that distances to them are exact. Shape (count,
    WIDTH). On one processor wherever it runs: the cells of a GPU's machine are those of any other."""
    import faiss

    with _one_thread():
        kmeans = faiss.Kmeans(
            points.shape[1],
            count,
            niter=ITERATIONS,
            seed=SEED % (1 << 31),
            max_points_per_centroid=SAMPLE_PER_CELL,
            min_points_per_centroid=1,
        )
        kmeans.train(points)
    return np.rint(np.asarray(kmeans.centroids, np.float32).reshape(count, -1)).astype(np.int16)


@contextmanager
def _one_thread() -> Iterator[None]:
    """FAISS's sums depend on the number of threads; training on a sample is cheap enough for one."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def assign(
    sketches: Sketches, rows: Indices, centroids: Whole, slack: Single, tick: Tick = unheard
) -> npt.NDArray[np.int32]:
    """The cells of the given rows by exact distances, ties to the lower: the nearest, and up to `MOST_CELLS` whose
    plane towards it is no further than `slack`, shape (k, k), the relatively nearest planes first. Shape (n,
    MOST_CELLS), -1 elsewhere."""
    targets = Sketches.around(centroids)
    factor = targets.right(np.arange(len(centroids)))
    further = 2 * slack * _gaps(targets)  # in squared distance, of the centroid beyond a plane so far away
    nearest = np.full((len(sketches.points), min(MOST_CELLS, len(centroids))), -1, np.int32)
    size = max(1, PRODUCTS // len(centroids))

    def fill(start: int) -> int:
        index = rows[start : start + size]
        close = nearness(sketches.left(index), factor)
        own = close.argmax(axis=1)
        best = close[np.arange(len(index)), own]
        row, cell = np.nonzero(close >= best[:, None] - further[own])
        planes = (best[row] - close[row, cell]) / further[own[row], cell]
        order = np.lexsort((cell, planes, row))
        row, cell = row[order], cell[order]
        choice = np.arange(row.size) - np.searchsorted(row, row)
        taken = choice < nearest.shape[1]
        nearest[index[row[taken]], choice[taken]] = cell[taken]
        return len(index)

    for done in spread(fill, range(0, len(rows), size)):
        tick(done)
    return nearest
