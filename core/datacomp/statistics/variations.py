"""Do named variations of the same questions come out alike? Rates, spread, homogeneity, over-dispersion.

The table has one line a variation and two columns, right and wrong. Where each variation was asked of items or trials
of its own (LAION-AI/AIW), `homogeneity` is the test; where all were asked of the same items, their outcomes go together
and `same_items` (Cochran's Q) is the sharper one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from math import comb, lcm

import numpy as np
import numpy.typing as npt

from datacomp.statistics.intervals import Interval, wilson

LEAST_EXPECTED = 5
"""Below this expected count in any cell chi-square is not to be trusted, and the exact distribution is taken."""
MOST_SUMMED = 300
"""Permutations are summed up while variations times occurrences of the rarer outcome are at most so many, and drawn
beyond."""
DRAWN = 100_000
FEW_CELLS = 24
"""Cochran's Q is taken exactly where items that are not all right or all wrong make at most so many cells."""
LARGEST_RHO = 0.999


@dataclass(frozen=True)
class Variations:
    """What is told of a task under variations."""

    rates: tuple[Interval, ...]
    """Share of right answers of each variation, with Wilson's interval."""
    mean: float
    """Of the rates, each variation counting equally."""
    worst: float
    spread: float
    """Largest rate less smallest."""
    homogeneity_p: float
    """Probability of rates at least so unequal if all were equal."""
    exact: bool
    """Whether that is from the exact distribution rather than chi-square."""
    overdispersion: float
    """rho of a beta-binomial: 0 where rates differ no more than chance makes them, 1 where a variation is right always
    or never."""


def variations(right: npt.ArrayLike, asked: npt.ArrayLike) -> Variations:
    """Statistics of numbers right out of numbers asked, both of shape (variations,).

    ValueError for what is no such table.
    """
    hits, n = _table(right, asked)
    rates = tuple(wilson(int(k), int(m)) for k, m in zip(hits, n, strict=True))
    shares = hits / n
    p, exact = homogeneity(hits, n)
    return Variations(
        rates=rates,
        mean=float(shares.mean()),
        worst=float(shares.min()),
        spread=float(np.ptp(shares)),
        homogeneity_p=p,
        exact=exact,
        overdispersion=overdispersion(hits, n),
    )


def homogeneity(right: npt.ArrayLike, asked: npt.ArrayLike) -> tuple[float, bool]:
    """(p-value of equal rates, whether it is exact).

    Pearson's chi-square on the table; where an expected count is below 5 the permutation test with the same statistic,
    over all tables of these margins (drawn, with a fixed seed, where they are too many). 1.0 for all right, all wrong,
    or one line.
    """
    hits, n = _table(right, asked)
    total, everything = int(hits.sum()), int(n.sum())
    if total in {0, everything} or hits.size < 2:
        return 1.0, True
    rarer = min(total, everything - total)
    if rarer * int(n.min()) < LEAST_EXPECTED * everything:
        few = hits if rarer == total else n - hits
        return (_exact(few, n), True) if rarer * n.size <= MOST_SUMMED else (_drawn(few, n), False)
    from scipy.stats import chi2

    expected = n * total / everything
    statistic = ((hits - expected) ** 2 / expected + (hits - expected) ** 2 / (n - expected)).sum()
    return float(chi2.sf(statistic, hits.size - 1)), False


def _exact(few: npt.NDArray[np.int64], n: npt.NDArray[np.int64]) -> float:
    """Share of the permutations whose statistic is at least the table's.

    With the margins given, chi-square rises with the sum of k_i^2 / n_i, a whole number over a common denominator; how
    many permutations have which sum is found variation by variation.
    """
    total, denominator = int(few.sum()), reduce(lcm, n.tolist())
    ways: dict[tuple[int, int], int] = {(0, 0): 1}
    for m in n.tolist():
        more: Counter[tuple[int, int]] = Counter()
        for (taken, statistic), count in ways.items():
            for k in range(min(m, total - taken) + 1):
                more[taken + k, statistic + k * k * (denominator // m)] += count * comb(m, k)
        ways = more
    seen = sum(k * k * (denominator // m) for k, m in zip(few.tolist(), n.tolist(), strict=True))
    at_least = sum(count for (taken, statistic), count in ways.items() if taken == total and statistic >= seen)
    return at_least / comb(int(n.sum()), total)


def _drawn(few: npt.NDArray[np.int64], n: npt.NDArray[np.int64]) -> float:
    """The same share among drawn permutations, the table itself counting as one."""
    tables = np.random.default_rng(0).multivariate_hypergeometric(n, int(few.sum()), DRAWN)
    statistics, seen = (tables**2 / n).sum(axis=1), float((few**2 / n).sum())
    return (1 + int((statistics >= seen * (1 - 1e-12)).sum())) / (1 + DRAWN)


def same_items(right: npt.ArrayLike) -> float:
    """p-value of Cochran's Q: are all variations right equally often, given which items are hard?

    `right`: bool of shape (items, variations). The exact distribution over all ways in which each item's right answers
    could fall to variations where few items tell variations apart, chi-square where many do. 1.0 where none does.
    """
    outcomes = np.asarray(right, bool)
    if outcomes.ndim != 2 or outcomes.shape[1] < 1:
        raise ValueError(f"outcomes have shape {outcomes.shape}, (items, variations) is needed")
    per_item, width = outcomes.sum(axis=1), outcomes.shape[1]
    telling = outcomes[(per_item > 0) & (per_item < width)]
    if not telling.size:
        return 1.0
    columns = telling.sum(axis=0)
    if telling.size <= FEW_CELLS:
        return _exact_q(telling)
    from scipy.stats import chi2

    rows = telling.sum(axis=1)
    spread = ((columns - columns.mean()) ** 2).sum()
    return float(chi2.sf(width * (width - 1) * spread / (rows * (width - rows)).sum(), width - 1))


def _exact_q(telling: npt.NDArray[np.bool_]) -> float:
    """Q rises with the sum of squares of the variations' totals, all else being given."""
    width = telling.shape[1]
    ways: Counter[tuple[int, ...]] = Counter({(0,) * width: 1})
    for hits in telling.sum(axis=1).tolist():
        more: Counter[tuple[int, ...]] = Counter()
        for columns, count in ways.items():
            for chosen in combinations(range(width), hits):
                more[tuple(c + (place in chosen) for place, c in enumerate(columns))] += count
        ways = more
    seen = sum(c * c for c in telling.sum(axis=0).tolist())
    at_least = sum(count for columns, count in ways.items() if sum(c * c for c in columns) >= seen)
    return at_least / sum(ways.values())


def overdispersion(right: npt.ArrayLike, asked: npt.ArrayLike) -> float:
    """Maximum-likelihood rho of a beta-binomial with mean mu and variance mu (1 - mu) rho of the rates.

    0 where no rho is likelier than none, so for rates closer together than chance makes them, and NaN where nothing can
    be told: all right, all wrong, or one variation.
    """
    from scipy.optimize import minimize

    hits, n = _table(right, asked)
    if hits.size < 2 or hits.sum() in {0, n.sum()}:
        return float("nan")
    share = hits.sum() / n.sum()
    binomial = float((hits * np.log(share) + (n - hits) * np.log1p(-share)).sum())
    most = np.log(LARGEST_RHO / (1 - LARGEST_RHO))
    means, rhos = np.meshgrid(np.linspace(-6, 6, 49), np.linspace(-2 * most, most, 49))
    best = np.unravel_index(np.argmax(_likelihood(hits, n, means, rhos)), means.shape)
    found = minimize(
        lambda point: -float(_likelihood(hits, n, point[0], point[1])),
        (means[best], rhos[best]),
        method="L-BFGS-B",
        bounds=((-12, 12), (-2 * most, most)),
    )
    return float(1 / (1 + np.exp(-found.x[1]))) if -float(found.fun) > binomial + 1e-6 else 0.0


def _likelihood(
    hits: npt.NDArray[np.int64], n: npt.NDArray[np.int64], mean: npt.ArrayLike, rho: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Log-likelihood of logits of mean and rho, of any equal shapes. Binomial coefficients are left out: they are the
    same everywhere."""
    from scipy.special import betaln, expit

    share, spread = (np.asarray(expit(logit))[..., None] for logit in (mean, rho))
    size = (1 - spread) / spread
    a, b = share * size, (1 - share) * size
    return np.asarray((betaln(hits + a, n - hits + b) - betaln(a, b)).sum(axis=-1))


def _table(right: npt.ArrayLike, asked: npt.ArrayLike) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    hits, n = np.asarray(right), np.asarray(asked)
    if hits.ndim != 1 or hits.shape != n.shape or not hits.size:
        raise ValueError(f"numbers right have shape {hits.shape}, numbers asked {n.shape}: one of each a variation")
    if (n < 1).any() or (hits < 0).any() or (hits > n).any() or (hits != hits.astype(np.int64)).any():
        raise ValueError("each variation needs at least one question, and no more right answers than questions")
    return hits.astype(np.int64), n.astype(np.int64)
