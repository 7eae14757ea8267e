"""Spherical k-means cells: near rows share one, so that only rows of one cell are compared.

A row is in its two nearest cells, and in further ones that are nearly as near: a row between many cells would else
miss its neighbours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.rows import BLOCK, Half, Indices, Rows

ROWS_PER_CELL = 500
MOST_CELLS = 6
"""Cells of one row."""
SLACK = 0.05
"""A cosine that is lower than the best by no more is nearly as near: two rows at cosine 0.95 in general position
differ by less in their cosines to any centroid."""
SAMPLE_PER_CELL = 128
ITERATIONS = 8
SEED = 20_230_427


@dataclass(frozen=True)
class Cells:
    """Each row's nearest cells."""

    centroids: Half
    """Shape (k, d)."""
    nearest: npt.NDArray[np.int32]
    """Shape (n, c): from the nearest on; -1 where there is none."""

    @property
    def count(self) -> int:
        """How many cells there are."""
        return len(self.centroids)

    def digest(self, by_uid: Indices) -> str:
        """Digest of the cell ids, rows taken in the order `by_uid`."""
        ids = np.ascontiguousarray(self.nearest[by_uid].astype("<i4"))
        return hashlib.sha256(f"{self.count}\n".encode() + ids.tobytes()).hexdigest()

    def members(self, rows: Indices) -> Iterator[tuple[int, Indices]]:
        """Cell by cell its id and those of the given rows that are in it, in the given order."""
        cell = self.nearest[rows].T.reshape(-1)
        place = np.tile(np.arange(len(rows)), self.nearest.shape[1])
        inside = cell >= 0
        cell, place = cell[inside], place[inside]
        order = np.lexsort((place, cell))
        bounds = np.flatnonzero(np.diff(cell[order])) + 1
        for part in np.split(order, bounds):
            if part.size:
                yield int(cell[part[0]]), rows[place[part]]


def build(rows: Rows, by_uid: Indices) -> Cells:
    """Train centroids on a sample and assign every usable row. Depends on `by_uid`, the usable rows in uid order, and
    not on the order of rows or the number of threads."""
    count = max(1, round(len(by_uid) / ROWS_PER_CELL))
    if count == 1:
        nearest = np.full((len(rows.features), 1), -1, np.int32)
        nearest[by_uid, 0] = 0
        return Cells(np.zeros((1, rows.features.shape[1]), np.float16), nearest)
    sample = np.random.default_rng(SEED).choice(len(by_uid), min(len(by_uid), count * SAMPLE_PER_CELL), replace=False)
    centroids = train(rows.unit(by_uid[np.sort(sample)]), count)
    return Cells(centroids, assign(rows, centroids))


def train(points: npt.NDArray[np.float32], count: int) -> Half:
    """Centroids of unit points by FAISS, rounded to float16 so that distances to them are exact. Shape (count, d)."""
    import faiss

    with _one_thread():
        kmeans = faiss.Kmeans(
            points.shape[1],
            count,
            niter=ITERATIONS,
            spherical=True,
            seed=SEED % (1 << 31),
            max_points_per_centroid=SAMPLE_PER_CELL,
            min_points_per_centroid=1,
        )
        kmeans.train(points)
    return np.asarray(kmeans.centroids, np.float32).reshape(count, -1).astype(np.float16)


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


def assign(rows: Rows, centroids: Half) -> npt.NDArray[np.int32]:
    """The nearest cells of every usable row by exact cosines, ties to the lower: two, and up to `MOST_CELLS` within
    `SLACK` of the best. Shape (n, MOST_CELLS), -1 elsewhere."""
    targets = centroids.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", targets, targets))
    lengths[lengths == 0] = np.inf
    nearest = np.full((len(rows.features), min(MOST_CELLS, len(centroids))), -1, np.int32)
    usable = np.flatnonzero(rows.usable)
    for start in range(0, len(usable), BLOCK):
        index = usable[start : start + BLOCK]
        cosines = rows.exact(index) @ targets.T / lengths
        limit = cosines.max(axis=1) - SLACK
        for choice in range(nearest.shape[1]):
            best = cosines.argmax(axis=1)
            enough = (cosines[np.arange(len(index)), best] >= limit) | (choice < 2)
            nearest[index[enough], choice] = best[enough]
            cosines[np.arange(len(index)), best] = -np.inf
    return nearest
