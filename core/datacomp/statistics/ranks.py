"""Rank ranges: between which places an entry may well stand, given how sure its score is.

Two entries differ when the 95% interval of their difference excludes 0, its variance being the sum of theirs. An
entry's range goes from 1 + the number of entries significantly better to the number of all less those significantly
worse. It makes no correction for many comparisons; the Holm range, stricter about calling two entries different, does
so for each entry over all its comparisons, and is at least as wide.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp.statistics.intervals import LEVEL, Floats, normal_quantile

Ints = npt.NDArray[np.int64]
VARIANCE_BINS = 16
"""Variances are rounded up to so many steps, so that ranges of many entries are found by sorting alone."""


@dataclass(frozen=True)
class RankRanges:
    """First and last possible place of every entry, from 1: shape (entries,). 0 where an entry has no score."""

    lo: Ints
    hi: Ints
    holm_lo: Ints
    holm_hi: Ints


def score_variance(seed_deviation: float, seeds: int, sampling_variance: float = 0.0) -> float:
    """Variance of a mean over seeds: the seeds' own spread, and that of the finite evaluation sets."""
    return seed_deviation**2 / max(seeds, 1) + sampling_variance


def rank_ranges(scores: npt.ArrayLike, variances: npt.ArrayLike, level: float = LEVEL) -> RankRanges:
    """Ranges of all entries; higher scores are better. Both of shape (entries,).

    A score or variance that is missing (NaN) or infinite is never placed: its range is 0 to 0, and it counts nowhere.
    Takes O(n log n) time for each of `VARIANCE_BINS` steps of variance.
    """
    values, spread = np.asarray(scores, np.float64), np.asarray(variances, np.float64)
    if values.shape != spread.shape or values.ndim != 1:
        raise ValueError(f"scores have shape {values.shape}, variances {spread.shape}")
    placed = np.isfinite(values) & np.isfinite(spread) & (spread >= 0)
    rows = np.flatnonzero(placed)
    rows = rows[np.argsort(values[rows], kind="stable")]  # neighbours look at neighbouring places: ten times faster
    counter = _Counter(values[rows], spread[rows])
    plain = counter.count(np.full(counter.size, normal_quantile(level)))
    places = [np.zeros(values.size, np.int64) for _ in range(4)]
    for number, (better, worse) in enumerate((plain, counter.holm(1 - level))):
        places[2 * number][rows] = 1 + better
        places[2 * number + 1][rows] = counter.size - worse
    return RankRanges(*places)


class _Counter:
    """Counts, for every entry, those that are better or worse by more than so many standard errors."""

    def __init__(self, values: Floats, variances: Floats) -> None:
        self.size = values.size
        self.values = values
        steps, bins = _rounded_up(variances)
        self.variances = steps[bins]
        self.groups = [(step, np.sort(values[bins == number])) for number, step in enumerate(steps)]

    def count(self, quantiles: Floats) -> tuple[Ints, Ints]:
        """Numbers of entries better and worse by more than `quantiles` standard errors: each of shape (entries,)."""
        better, worse = np.zeros(self.size, np.int64), np.zeros(self.size, np.int64)
        for step, ordered in self.groups:
            least = quantiles * np.sqrt(self.variances + step)
            better += ordered.size - np.searchsorted(ordered, self.values + least, side="right")
            worse += np.searchsorted(ordered, self.values - least, side="left")
        # Beyond is meant strictly: without any variance equal scores, and an entry's own, are not beyond each other.
        return better, worse

    def holm(self, alpha: float) -> tuple[Ints, Ints]:
        """The same with Holm's step-down correction over each entry's comparisons."""
        from scipy.special import ndtri

        comparisons = max(self.size - 1, 1)
        rejected = np.zeros(self.size, np.int64)
        while True:
            left = np.maximum(comparisons - rejected, 1)
            better, worse = self.count(ndtri(1 - alpha / (2 * left)))
            if (better + worse <= rejected).all():
                return better, worse
            rejected = better + worse


def _rounded_up(variances: Floats) -> tuple[Floats, Ints]:
    """Steps of variance, ascending, and each entry's: at least its own, so that ranges never come out too narrow."""
    distinct = np.unique(variances)
    if distinct.size > VARIANCE_BINS:
        shares = np.linspace(0, 1, VARIANCE_BINS + 1)[1:]
        distinct = np.unique(np.quantile(distinct, shares, method="higher"))
    return distinct, np.searchsorted(distinct, variances, side="left")
