"""How well the order of methods at a small scale tells their order at a large one.

The evidence that a small scale is worth competing at. Intervals are percentiles over methods drawn with replacement:
they say how much the figures depend on which methods happened to be entered.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from datacomp.messages import AgreementOut, Figure, Series
from datacomp.scaling.laws import Floats
from datacomp.scaling.trends import Question, usable
from datacomp.statistics.intervals import wilson

FEWEST = 3
RESAMPLES = 1000
SAME = 1e-12
MOST = 500
"""Methods that are compared pair by pair; of more a random sample is."""


def agreements(series: Iterable[Series], question: Question | None = None) -> list[AgreementOut]:
    """One line for every two scales that at least three methods were entered at, the smaller scale first."""
    question = question or Question()
    scores: dict[str, dict[int, float]] = {}
    places: dict[str, float] = {}
    for number, each in enumerate(series):
        for point in usable(each.points, question):
            scores.setdefault(point.scale, {})[number] = point.score
            places.setdefault(point.scale, question.where(point))
    found = []
    for small, large in combinations(sorted(scores, key=lambda scale: places[scale]), 2):
        both = sorted(scores[small].keys() & scores[large].keys())
        if len(both) >= FEWEST and places[small] < places[large]:
            below, above = (np.array([scores[scale][number] for number in both]) for scale in (small, large))
            found.append(agreement(small, large, below, above))
    return found


def agreement(small: str, large: str, below: Floats, above: Floats) -> AgreementOut:
    """Compare two orders of the same methods. Both of shape (methods,), at least 3."""
    methods = below.size
    if methods > MOST:
        chosen = np.random.default_rng(0).choice(methods, MOST, replace=False)
        below, above = below[chosen], above[chosen]
    drawn = np.random.default_rng(1).multinomial(below.size, np.full(below.size, 1 / below.size), RESAMPLES)
    weights = np.vstack([np.ones(below.size), drawn]).astype(np.float64)
    kendall, pairwise = _pairs(below, above, weights)
    signs = np.sign(above[:, None] - above)
    return AgreementOut(
        small=small,
        large=large,
        methods=methods,
        pairs=int((signs != 0).sum() // 2),
        spearman=_figure(_spearman(below, above, weights), below.size),
        kendall=_figure(kendall, below.size),
        pairwise=_figure(pairwise, below.size, worst=0.0),
    )


def right_pairs(guess: Sequence[float], truth: Sequence[float]) -> tuple[float, int]:
    """Share of the pairs that differ in truth which a guess puts in the same order (half for equal guesses), and how
    many pairs differ. NaN without any."""
    above = np.asarray(truth, np.float64)
    weights = np.ones((1, above.size))
    _, pairwise = _pairs(np.asarray(guess, np.float64), above, weights)
    return float(pairwise[0]), int((np.sign(above[:, None] - above) != 0).sum() // 2)


def _pairs(below: Floats, above: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Kendall's tau-b and the share of pairs in the same order, each of shape (resamples,)."""
    first, second = np.sign(below[:, None] - below), np.sign(above[:, None] - above)

    def total(matrix: Floats) -> Floats:
        return np.asarray(((weights @ matrix) * weights).sum(axis=1))

    concordance = total(first * second)
    differ, differ_below = total(second**2), total(first**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return concordance / np.sqrt(differ * differ_below), (concordance / differ + 1) / 2


def _spearman(below: Floats, above: Floats, weights: Floats) -> Floats:
    """Spearman's correlation: Pearson's of the ranks among the drawn methods."""
    first, second = _ranks(below, weights), _ranks(above, weights)
    total = weights.sum(axis=1, keepdims=True)
    first -= (weights * first).sum(axis=1, keepdims=True) / total
    second -= (weights * second).sum(axis=1, keepdims=True) / total
    covariance = (weights * first * second).sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.sqrt((weights * first**2).sum(axis=1) * (weights * second**2).sum(axis=1))
        return np.asarray(covariance / spread)


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Mid-ranks of values that occur as often as the weights say: shape of `weights`."""
    _, group = np.unique(values, return_inverse=True)
    counts = np.zeros((weights.shape[0], group.max() + 1))
    for place, number in enumerate(group):
        counts[:, number] += weights[:, place]
    middle = np.cumsum(counts, axis=1) - (counts - 1) / 2
    return np.asarray(middle[:, group], np.float64)


def _figure(values: Floats, methods: int, worst: float = -1.0) -> Figure:
    """The first value, with percentiles of the others.

    Where all draws agree, as those of three methods in one order do, that is Wilson's interval for as many pairs as no
    two share a method; the middle of all that is possible where the order is not defined.
    """
    drawn = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not drawn.size:
        return Figure(value=(worst + 1) / 2, lo=worst, hi=1.0)
    lo, hi = np.percentile(drawn, [2.5, 97.5])
    if hi - lo < SAME:
        pairs = methods // 2
        share = wilson(pairs * (values[0] - worst) / (1 - worst), pairs)
        lo, hi = (worst + (1 - worst) * bound for bound in (share.lo, share.hi))
    return Figure(value=float(values[0]), lo=float(lo), hi=float(hi))
