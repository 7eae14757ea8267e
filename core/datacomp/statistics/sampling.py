"""What the finite number of items makes of a task's value: its interval and its variance, from records.

Every metric is a function of a few sums over items (right ones, all of them, by class or group). A bootstrap draws the
items with replacement, or whole clusters of them where items share one, and so draws those sums. Units with the same
contributions are drawn together, by one multinomial number each: that is the same distribution, and makes 10,000 draws
of 50,000 items a matter of milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datacomp.records import Records
from datacomp.scoring import task_values
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
    parts = _parts(task, records, value)
    if not parts:
        ordered = _in_order(records)
        return _around(value, _fold_variance(lambda kept: _value(task, kept(ordered)), [ordered]))
    if task.metric in HITS and len(parts) == 1:
        return _of_interval(wilson(value * records.item.size, records.item.size))
    found = _drawn(parts, resamples, seed)
    variance = float(np.nanvar(found))
    if not variance > 0:
        deciding = parts[0].sums.deciding
        return _of_interval(wilson(value * deciding, deciding))
    return _of_draws(value, found)


def paired(
    task: Task, first: Sequence[Records], second: Sequence[Records], *, resamples: int = RESAMPLES, seed: int = 0
) -> Sampled | None:
    """The difference second - first of two entries' means over their seeds, on the same items.

    The same items are drawn for all of them. None where they were not measured on the same items, or have no value.
    """
    every = [_in_order(records) for records in (*first, *second)]
    if not every or any(not same_items(every[0], other) for other in every[1:]):
        return None
    weights = np.r_[np.full(len(first), -1 / len(first)), np.full(len(second), 1 / len(second))]
    values = [value for records in every if (value := _value(task, records)) is not None]
    if len(values) < len(every):
        return None
    value = float(weights @ np.array(values))
    parts = [
        [Part(part.sums, part.weight * weight) for part in _parts(task, records, found)]
        for records, found, weight in zip(every, values, weights, strict=True)
    ]
    if all(parts):
        return _of_draws(value, _drawn([part for of_one in parts for part in of_one], resamples, seed))

    def without(kept: Callable[[Records], Records]) -> float | None:
        left = [_value(task, kept(records)) for records in every]
        return None if None in left else float(weights @ np.array(left, np.float64))

    return _around(value, _fold_variance(without, every))


@dataclass(frozen=True)
class Part:
    """One condition of a task (a variation, a probe's training) and its weight in the task's value."""

    sums: Sums
    weight: float


def _value(task: Task, records: Records) -> float | None:
    """The task's value by the rules of scoring; None unless finite."""
    alone = Suite(name="one", version="1", tasks=(task,))
    found = task_values({task.key: records}, alone)[task.key].value
    return found if found is not None and np.isfinite(found) else None


def _parts(task: Task, records: Records, value: float) -> list[Part]:
    """The task's value as a weighted sum of functions of sums over the same items; empty where it is none."""
    make = SUMS.get(task.metric) if task.metric is not None else None
    if make is None:
        return []
    parts = [Part(make(found), weight) for found, weight in _conditions(_in_order(records))]
    if len({part.sums.rows.shape[0] for part in parts}) > 1:
        return []
    whole = sum(part.weight * float(part.sums.value(_summed(part.sums.rows))[0]) for part in parts)
    return parts if abs(whole - value) <= CLOSE else []


def _conditions(records: Records) -> Iterator[tuple[Records, float]]:
    """The records of every condition under which items were asked: variations weigh alike, within them numbers of
    shots, within those the draws of what a probe learnt from."""
    names = np.unique(records.variation)
    for name in names:
        shown = records.where(records.variation == name)
        counts = np.unique(shown.shots)
        for shots in counts:
            learnt = shown.where(shown.shots == shots)
            drawn = np.unique(learnt.draw)
            for draw in drawn:
                yield learnt.where(learnt.draw == draw), 1 / (names.size * counts.size * drawn.size)


def _summed(rows: csr_matrix) -> Floats:
    return np.asarray(rows.sum(axis=0), np.float64).reshape(1, -1)


def _drawn(parts: Sequence[Part], resamples: int, seed: int) -> Floats:
    """Values of the resamples, the same units drawn for all parts: shape (resamples,)."""
    from scipy.sparse import hstack

    ends = np.cumsum([0, *(part.sums.rows.shape[1] for part in parts)])

    def value(drawn: Floats) -> Floats:
        found = np.zeros(len(drawn))
        for part, a, b in zip(parts, ends, ends[1:], strict=False):
            found += part.weight * part.sums.value(drawn[:, a:b])
        return found

    return draws(hstack([part.sums.rows for part in parts]).tocsr(), value, resamples, seed)


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
    """Whether two tasks' records, both in order, tell of the same items under the same conditions."""
    names = ("item", "part", "variation", "shots", "draw")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def _in_order(records: Records) -> Records:
    order = np.lexsort((records.item, records.part, records.draw, records.shots, records.variation))
    return Records(**{name: column[order] for name, column in vars(records).items()})


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


def _of_draws(value: float, found: Floats) -> Sampled:
    lo, hi = np.nanpercentile(found, [50 * (1 - LEVEL), 50 * (1 + LEVEL)])
    return Sampled(value, min(float(lo), value), max(float(hi), value), float(np.nanvar(found)))


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
        values.append(value(partial(_without, gone)))
    found = np.array([np.nan if left is None else left for left in values])
    return float((folds - 1) / folds * ((found - found.mean()) ** 2).sum())


def _without(gone: npt.NDArray[np.int64], records: Records) -> Records:
    """The records but for those of some items."""
    return records.where(~np.isin(records.item, gone))


def _around(value: float, variance: float) -> Sampled:
    """A normal interval; all that is possible where nothing is known of the variance."""
    half = normal_quantile() * float(np.sqrt(variance)) if np.isfinite(variance) else 1.0
    return Sampled(value, value - half, value + half, variance)
