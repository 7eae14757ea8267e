"""Intervals of single figures and of paired differences, from the items that they were measured on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 10_000
BLOCK = 1 << 22
"""Numbers that a bootstrap holds at a time."""


@dataclass(frozen=True)
class Interval:
    """An estimate with the bounds of its interval."""

    value: float
    lo: float
    hi: float

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside."""
        return not self.lo <= value <= self.hi


@cache
def normal_quantile(level: float = LEVEL) -> float:
    """How many standard deviations a two-sided interval of a level spans to either side: 1.96 for 95%."""
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def wilson(hits: float, n: int, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a share of hits (Wilson 1927). With n = 0 nothing is known: NaN in [0, 1]."""
    if n <= 0:
        return Interval(float("nan"), 0.0, 1.0)
    share, z = hits / n, normal_quantile(level)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(float(share), float(max(0.0, centre - half)), float(min(1.0, centre + half)))


def cluster_bootstrap(
    values: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a mean over items, whole clusters drawn with replacement.

    `values`: shape (items,); `clusters`: the cluster of each item, any labels, shape (items,); without it each item is
    one. The mean of a draw is over its items, so large clusters weigh more. ValueError for no items or unequal shapes.
    """
    sums, counts = _per_cluster(np.asarray(values, np.float64), clusters)
    means = _resampled_means(sums, counts, resamples, seed)
    return _percentiles(float(sums.sum() / counts.sum()), means, level)


def paired_bootstrap(
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Interval of the mean difference first - second of two entries on the same items, paired within each resample."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"paired values have shapes {a.shape} and {b.shape}")
    return cluster_bootstrap(a - b, clusters, level=level, resamples=resamples, seed=seed)


def task_bootstrap(
    values: npt.ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of a mean over tasks when the tasks themselves are drawn: would it hold on other tasks of the kind?"""
    return cluster_bootstrap(values, level=level, resamples=resamples, seed=seed)


def _per_cluster(values: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """Sum and number of items of every cluster."""
    if values.ndim != 1 or not values.size:
        raise ValueError(f"values have shape {values.shape}, one dimension with at least one item is needed")
    if clusters is None:
        return values, np.ones(values.size)
    labels = np.asarray(clusters)
    if labels.shape != values.shape:
        raise ValueError(f"values have shape {values.shape}, clusters {labels.shape}")
    _, place = np.unique(labels, return_inverse=True)
    sums, counts = np.bincount(place, values), np.bincount(place)
    return sums.astype(np.float64), counts.astype(np.float64)


def _resampled_means(sums: Floats, counts: Floats, resamples: int, seed: int) -> Floats:
    """Means of the resamples: shape (resamples,)."""
    rng = np.random.default_rng(seed)
    size = sums.size
    if (counts == 1).all() and np.isin(sums, (0.0, 1.0)).all():
        return rng.binomial(size, sums.mean(), resamples) / size  # the same distribution, without drawing items
    means = np.empty(resamples)
    step = max(1, BLOCK // size)
    for start in range(0, resamples, step):
        drawn = rng.integers(0, size, (min(step, resamples - start), size))
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _percentiles(value: float, means: Floats, level: float) -> Interval:
    lo, hi = np.percentile(means, [50 * (1 - level), 50 * (1 + level)])
    return Interval(value, float(lo), float(hi))
