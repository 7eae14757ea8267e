"""How many removable rows the cells let slip, measured by brute force on a random sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from datacomp_filters.neardup.compare import Comparer
from datacomp_filters.neardup.progress import Report, Tick, counter, silent
from datacomp_filters.neardup.rows import Bools, Indices
from datacomp_filters.neardup.spread import spread

SEED = 20_230_427
SIDE = 2048
"""Rows on a side of one product."""


@dataclass(frozen=True)
class Recall:
    """Of the sampled rows that ought to go: how many went, how many were missed."""

    sampled: int
    removed: int
    missed: int

    @property
    def rate(self) -> float:
        """Share that went; 1 when none ought to."""
        found = self.removed + self.missed
        return self.removed / found if found else 1.0

    def interval(self) -> tuple[float, float]:
        """95% Wilson interval of the rate."""
        return wilson(self.removed, self.removed + self.missed)


def wilson(successes: int, trials: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Wilson's score interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low = 0.0 if successes == 0 else max(0.0, (centre - spread) / scale)
    high = 1.0 if successes == trials else min(1.0, (centre + spread) / scale)
    return low, high


def measure(
    comparer: Comparer,
    ranked: Indices,
    removed: Bools,
    by_uid: Indices,
    *,
    sample: int,
    any_witness: bool,
    report: Report = silent,
) -> Recall:
    """Brute-force `sample` random rows of `by_uid` against all of them.

    `ranked` lists the rows from best to worst, `removed` says which of these went. A kept row is missed when a
    better-ranked row is near it that is kept as well (`any_witness`: kept or not, for SemDeDup's rule).
    """
    place = np.full(len(comparer.rows.features), -1, np.int64)
    place[ranked] = np.arange(len(ranked))
    chosen = np.random.default_rng(SEED).choice(len(by_uid), min(sample, len(by_uid)), replace=False)
    queries = by_uid[np.sort(chosen)]
    gone = removed[place[queries]]
    witnesses = ranked if any_witness else ranked[~removed]
    queries = queries[~gone]
    tick = counter(report, "measuring recall", len(witnesses) * -(-len(queries) // SIDE))
    missed = _with_better_near(comparer, queries, witnesses, place, tick)
    return Recall(sampled=len(gone), removed=int(gone.sum()), missed=missed)


def _with_better_near(comparer: Comparer, queries: Indices, witnesses: Indices, place: Indices, tick: Tick) -> int:
    found = np.zeros(len(queries), np.bool_)

    def search(starts: tuple[int, int]) -> int:
        rows, own = queries[starts[0] : starts[0] + SIDE], found[starts[0] : starts[0] + SIDE]
        against = witnesses[starts[1] : starts[1] + SIDE]
        cosines = comparer.cosines(rows, against)
        candidates = np.flatnonzero(cosines >= comparer.threshold - comparer.margin)
        a, b = np.divmod(candidates, len(against))
        better = (place[against[b]] < place[rows[a]]) & ~own[a]
        a, b = a[better], b[better]
        own[a[comparer.decide(rows[a], against[b], cosines[a, b])]] = True
        return len(against)

    for done in spread(search, product(range(0, len(queries), SIDE), range(0, len(witnesses), SIDE))):
        tick(done)
    return int(found.sum())
