"""Density-based pruning: clusters that are spread out and far from others keep more, each its farthest images.

Abbas et al. 2024, "Effective pruning of web-scale datasets based on complexity of concept clusters" (arXiv:2401.04578).
A cluster's complexity is its mean cosine distance to its 20 nearest other centroids, times the mean distance of its
images to its centroid; a softmax of the complexities shares the budget out, and the shares nearest to those in the
least-squares sense are found under 1 <= share <= size. The authors' code has two more settings, both here: a
temperature of 0.5 instead of the paper's 0.1, and `balance` (0.5 there), by which every cluster keeps that part of an
equal share at least. They deduplicate first (SemDeDup) and prune what a score keeps: `among` is an expression for that,
such as `top_fraction(clip_l14_similarity_score, 0.3)`. Simplified: the clusters are those of the pool (`datacomp pool
ingest DIR --centroids`), and distances are of its ViT-L/14 features, not DINOv2's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_file
from datacomp.filtering import Filter
from datacomp.filtering.selection import select
from datacomp.pool import Pool
from datacomp.pool.clusters import FEATURE, read_vectors
from datacomp.pool.recipe import CLUSTERS
from datacomp.problems import BadInput

BLOCK = 1 << 13
Floats = npt.NDArray[Any]


class DensityBased(Filter):
    """Keeps a fraction of the pool, shared out by cluster. `centroids`: the file the pool was ingested with."""

    columns, features = ("cluster",), (FEATURE,)

    def __init__(
        self,
        centroids: str,
        fraction: float,
        temperature: float = 0.1,
        neighbours: int = 20,
        balance: float = 0.0,
        among: str = "",
    ) -> None:
        if not 0 <= fraction <= 1:
            raise BadInput.of("filter-parameter", f"a fraction lies between 0 and 1, not at {fraction:g}", "fraction")
        if not temperature > 0 or neighbours < 1:
            raise BadInput.of("filter-parameter", "temperature and neighbours are above 0", "temperature")
        if not 0 <= balance <= 1:
            raise BadInput.of("filter-parameter", f"a balance lies between 0 and 1, not at {balance:g}", "balance")
        self.centroids, self.fraction, self.among = Path(centroids), fraction, among
        self.temperature, self.neighbours, self.balance = temperature, neighbours, balance

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row is kept."""
        cluster, near = np.asarray(pool.column("cluster")), self._nearness(pool)
        by_uid = np.asarray(pool.uid_order)  # sums and ties follow uids, not the order of rows
        order = by_uid[np.lexsort((near[by_uid], cluster[by_uid]))]
        order = order[np.isfinite(near[order]) & self._candidates(pool)[order]]
        grouped = cluster[order]
        present, first, sizes = np.unique(grouped, return_index=True, return_counts=True)
        if not present.size:
            return np.zeros(pool.rows, np.bool_)
        intra = 1 - np.add.reduceat(near[order].astype(np.float64), first) / sizes
        complexity = self._inter(self._vectors(pool))[present] * intra / self.temperature
        wanted = np.exp(complexity - complexity.max())
        quotas = shares(wanted / wanted.sum(), sizes, int(pool.rows * self.fraction), self.balance)
        place = np.arange(order.size) - np.repeat(first, sizes)
        kept = np.zeros(pool.rows, np.bool_)
        kept[order[place < np.repeat(quotas, sizes)]] = True
        return kept

    def _candidates(self, pool: Pool) -> npt.NDArray[np.bool_]:
        if not self.among:
            return np.ones(pool.rows, np.bool_)
        return np.asarray(select(pool, None, self.among).counts > 0)

    def _vectors(self, pool: Pool) -> Floats:
        vectors = read_vectors(self.centroids, "centroids").astype(np.float64)
        if digest_file(self.centroids) != pool.manifest.made_with.get(CLUSTERS):
            hint = f"give the same file, or run: datacomp pool ingest {pool.directory} --centroids {self.centroids}"
            raise BadInput.of(
                "centroids-other", "the pool was ingested with other centroids", str(self.centroids), hint
            )
        return _unit(vectors)

    def _nearness(self, pool: Pool) -> npt.NDArray[np.float32]:
        vectors, cluster = self._vectors(pool), pool.column("cluster")
        near = np.empty(pool.rows, np.float32)
        for part in pool.shard_rows():
            features = pool.features(FEATURE, part.shard)
            for start in range(0, part.stop - part.start, BLOCK):
                wide = _unit(np.asarray(features[start : start + BLOCK]).astype(np.float64))
                rows = slice(part.start + start, part.start + start + len(wide))
                near[rows] = (wide * vectors[cluster[rows]]).sum(axis=1)
        return near

    def _inter(self, vectors: Floats) -> Floats:
        """Mean distance of each centroid to its nearest others."""
        if len(vectors) == 1:
            return np.ones(1)
        few = min(self.neighbours, len(vectors) - 1)
        found = np.empty(len(vectors))
        step = max((1 << 24) // len(vectors), 1)
        for start in range(0, len(vectors), step):
            distance = 1 - vectors[start : start + step] @ vectors.T
            distance[np.arange(len(distance)), start + np.arange(len(distance))] = np.inf
            found[start : start + step] = np.sort(np.partition(distance, few - 1, axis=1)[:, :few]).mean(axis=1)
        return found


def shares(
    probabilities: Floats, sizes: npt.NDArray[np.int64], total: int, balance: float = 0.0
) -> npt.NDArray[np.int64]:
    """Whole numbers nearest to `probabilities * total` with that sum, none beyond its size; 1 or more where it can be,
    and no less than `balance` times an equal share.

    The minimum of the squared differences moves all shares by one amount and clips them; it is found by bisection.
    """
    total = min(total, int(sizes.sum()))
    least = np.minimum(sizes, max(int(total / len(sizes) * balance), 1 if total >= len(sizes) else 0))
    wanted = probabilities * total
    low, high = -float(total) - 1, float(sizes.max()) + 1
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(wanted + middle, least, sizes).sum() < total else (low, middle)
    exact = np.clip(wanted + high, least, sizes)
    whole = np.floor(exact).astype(np.int64)
    rest = np.argsort(whole - exact, kind="stable")
    rest = rest[whole[rest] < sizes[rest]]
    whole[rest[: max(total - int(whole.sum()), 0)]] += 1
    return whole


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = vectors / np.where(length > 0, length, 1)
    return unit
