"""What the finite number of items makes of a task's value: its interval and its variance, from records.

Every metric is a function of a few sums over items (right ones, all of them, by class or group). A bootstrap draws the
items with replacement, or whole clusters of them where items share one, and so draws those sums. Units with the same
contributions are drawn together, by one multinomial number each: that is the same distribution, and makes 10,000 draws
of 50,000 items a matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.scoring import Records, task_values
from datacomp.statistics.intervals import LEVEL, RESAMPLES, Floats, Interval, normal_quantile, wilson
from datacomp.statistics.sums import SUMS, Sums, Value
from datacomp.suite import Metric, Suite, Task

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

HITS = {Metric.ACC1: 1, Metric.ACC5: 5}
"""Metrics that are a share of hits, with their k: their intervals are Wilson's."""
WORK = 1 << 24
"""Drawn numbers of one bootstrap: where units differ too much to be drawn together there are fewer resamples, so that
scoring stays quick."""
FEWEST = 1000
CLOSE = 1e-9
"""So near must the sums come to the value by the rules of scoring."""
BLOCK = 1 << 22
FOLDS = 50
"""Parts that are left out one at a time, for metrics that are not a function of sums."""


@dataclass(frozen=True)
class Sampled:
    """A value with the interval and the variance that it owes to the items it was measured on."""

    value: float
    lo: float
    hi: float
    variance: float


def sampled(task: Task, records: Records, *, resamples: int = RESAMPLES, seed: int = 0) -> Sampled | None:
    """A task's value as its records have it, with its interval; None for tasks without one, or without a finite one."""
    value = _value(task, records)
    if value is None:
        return None
    sums = _sums(task, records, value)
    if sums is None:
        ordered = _in_order(records)
        return _around(value, _fold_variance(lambda kept: _value(task, kept(ordered)), [ordered]))
    if task.metric in HITS and sums.rows.shape[0] == records.item.size:
        return _of_interval(wilson(value * records.item.size, records.item.size))
    return _of_draws(value, draws(sums.rows, sums.value, resamples, seed), sums.deciding)


def paired(
    task: Task, first: Sequence[Records], second: Sequence[Records], *, resamples: int = RESAMPLES, seed: int = 0
) -> Sampled | None:
    """The difference first - second of two entries' means over their seeds, on the same items.

    The same items are drawn for all of them. None where they were not measured on the same items, or have no value.
    """
    every = [_in_order(records) for records in (*first, *second)]
    if not every or any(not same_items(every[0], other) for other in every[1:]):
        return None
    weights = np.r_[np.full(len(first), 1 / len(first)), np.full(len(second), -1 / len(second))]
    values = [_value(task, records) for records in every]
    if any(value is None for value in values):
        return None
    value = float(weights @ np.array(values, np.float64))
    parts = [_sums(task, records, found) for records, found in zip(every, values, strict=True) if found is not None]
    whole = [part for part in parts if part is not None]
    if len(whole) < len(every):

        def without(kept: Callable[[Records], Records]) -> float | None:
            left = [_value(task, kept(records)) for records in every]
            return None if None in left else float(weights @ np.array(left, np.float64))

        return _around(value, _fold_variance(without, every))
    found = _drawn_difference(whole, weights, resamples, seed)
    lo, hi = np.nanpercentile(found, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Sampled(value, min(float(lo), value), max(float(hi), value), float(np.nanvar(found)))


def _drawn_difference(parts: Sequence[Sums], weights: Floats, resamples: int, seed: int) -> Floats:
    from scipy.sparse import hstack

    ends = np.cumsum([0, *(part.rows.shape[1] for part in parts)])

    def difference(drawn: Floats) -> Floats:
        values = [part.value(drawn[:, a:b]) for part, a, b in zip(parts, ends, ends[1:], strict=False)]
        return np.asarray(weights @ np.stack(values))

    return draws(hstack([part.rows for part in parts]).tocsr(), difference, resamples, seed)


def _value(task: Task, records: Records) -> float | None:
    """The task's value by the rules of scoring; None unless finite."""
    alone = Suite(name="one", version="1", tasks=(task,))
    found = task_values({task.key: records}, alone)[task.key].value
    return found if found is not None and np.isfinite(found) else None


def _sums(task: Task, records: Records, value: float) -> Sums | None:
    """The task's value as a function of sums over items; None where it is not, as for parts that weigh alike."""
    make = SUMS.get(task.metric) if task.metric is not None else None
    if make is None:
        return None
    sums = make(records)
    if abs(float(sums.value(np.asarray(sums.rows.sum(axis=0)).reshape(1, -1))[0]) - value) > CLOSE:
        return None
    return sums if sums.rows.shape[0] != records.item.size else replace(sums, rows=_by_item(sums.rows, records.item))


def _by_item(rows: csr_matrix, item: npt.NDArray[np.int64]) -> csr_matrix:
    """Contributions of whole items, which may have been asked several times: by variation, or by draw of a probe."""
    from scipy.sparse import csr_matrix

    names, place = np.unique(item, return_inverse=True)
    if names.size == item.size:
        return rows
    belongs = csr_matrix((np.ones(item.size), (place, np.arange(item.size))), shape=(names.size, item.size))
    return belongs @ rows


def draws(rows: csr_matrix, value: Value, resamples: int = RESAMPLES, seed: int = 0) -> Floats:
    """Values of the resamples of units: shape (resamples,), fewer where units are too many and too different."""
    distinct, counts = _distinct(rows)
    resamples = min(resamples, max(FEWEST, WORK // counts.size))
    rng, shares = np.random.default_rng(seed), counts / counts.sum()
    step, turned = max(1, BLOCK // counts.size), distinct.T.tocsr()
    found = np.empty(resamples)
    for start in range(0, resamples, step):
        drawn = rng.multinomial(int(counts.sum()), shares, min(step, resamples - start))
        found[start : start + step] = value((turned @ drawn.T.astype(np.float64)).T)
    return found


def same_items(one: Records, other: Records) -> bool:
    """Whether two tasks' records, both in the order of parts and items, tell of the same items."""
    return bool(np.array_equal(one.item, other.item) and np.array_equal(one.part, other.part))


def _in_order(records: Records) -> Records:
    order = np.lexsort((records.item, records.part))
    return _only(records, order)


def _only(records: Records, rows: npt.NDArray[Any]) -> Records:
    return type(records)(**{name: column[rows] for name, column in vars(records).items()})


def _distinct(rows: csr_matrix) -> tuple[csr_matrix, npt.NDArray[np.int64]]:
    """The different rows and how often each occurs, told apart by two random projections of them."""
    rows.sort_indices()
    drawn = np.random.default_rng(1).random((rows.shape[1], 2))
    keys = rows @ drawn
    _, first, counts = np.unique(keys[:, 0] + 1j * keys[:, 1], return_index=True, return_counts=True)
    return rows[first], counts


def _of_interval(found: Interval) -> Sampled:
    deviation = (found.hi - found.lo) / (2 * normal_quantile())
    return Sampled(found.value, found.lo, found.hi, deviation**2)


def _of_draws(value: float, found: Floats, deciding: int) -> Sampled:
    variance = float(np.nanvar(found))
    if not variance > 0:
        known = _of_interval(wilson(value * deciding, deciding))
        return Sampled(value, known.lo, known.hi, known.variance)
    lo, hi = np.nanpercentile(found, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Sampled(value, min(float(lo), value), max(float(hi), value), variance)


# --- any other metric


def _fold_variance(value: Callable[[Callable[[Records], Records]], float | None], every: Sequence[Records]) -> float:
    """Jackknife over random parts of the items, each left out once; NaN where some part cannot do without."""
    items = np.unique(every[0].item)
    folds = min(FOLDS, items.size)
    if folds < 2:
        return float("nan")
    fold = np.random.default_rng(0).permutation(np.arange(items.size) % folds)
    values = []
    for out in range(folds):
        gone = items[fold == out]
        values.append(value(lambda records, gone=gone: _only(records, ~np.isin(records.item, gone))))  # type: ignore[misc]
    found = np.array([np.nan if left is None else left for left in values])
    return float((folds - 1) / folds * ((found - found.mean()) ** 2).sum())


def _around(value: float, variance: float) -> Sampled:
    """A normal interval; all that is possible where nothing is known of the variance."""
    half = normal_quantile() * float(np.sqrt(variance)) if np.isfinite(variance) else 1.0
    return Sampled(value, value - half, value + half, variance)
