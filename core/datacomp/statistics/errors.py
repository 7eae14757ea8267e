"""Standard errors of scores and of their differences: seeds' own spread, and that of finite evaluation sets.

Tasks are measured on items of their own, so that sampling variances of tasks add up in a mean. Seeds of one submission
are measured on the same items: how much their errors have in common is not kept, so that all of it is assumed, which
never makes an interval too narrow.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datacomp.statistics.intervals import LEVEL, Interval, normal_quantile
from datacomp.suite import Suite, Task

DEFAULT_AVERAGE, DEFAULT_MAIN = 0.004, 0.003
"""Standard deviations between seeds of the average and of the headline task, until they are measured."""


@dataclass(frozen=True)
class Variances:
    """Sampling variances of a suite's means; None where a task's is missing."""

    average: float | None
    main: float | None
    groups: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        """As databases keep it."""
        return {"average": self.average, "main": self.main, "groups": self.groups}


def suite_variances(tasks: Mapping[str, float], suite: Suite) -> Variances:
    """Sampling variances of the suite's means from those of its tasks by key."""
    main = next((task for task in suite.counted if task.group == "main"), None)
    groups = {group: _of_mean(tasks, members) for group, members in suite.groups().items()}
    return Variances(
        average=_of_mean(tasks, suite.counted),
        main=tasks.get(main.key) if main else None,
        groups={group: found for group, found in groups.items() if found is not None},
    )


def _of_mean(variances: Mapping[str, float], tasks: Sequence[Task]) -> float | None:
    if not tasks or any(task.key not in variances for task in tasks):
        return None
    return math.fsum(variances[task.key] for task in tasks) / len(tasks) ** 2


def over_seeds(variances: Sequence[float | None]) -> float | None:
    """Sampling variance of a mean over seeds that were measured on the same items; None as soon as one is missing."""
    present = [found for found in variances if found is not None]
    if not present or len(present) < len(variances):
        return None
    return (math.fsum(map(math.sqrt, present)) / len(present)) ** 2


def interval(value: float | None, variance: float | None, level: float = LEVEL) -> Interval | None:
    """The interval of a figure of that variance; None where either is missing."""
    if value is None or variance is None or not math.isfinite(value) or not math.isfinite(variance):
        return None
    half = normal_quantile(level) * math.sqrt(variance)
    return Interval(value, value - half, value + half)


@dataclass(frozen=True)
class Deviation:
    """A pooled standard deviation within submissions over seeds."""

    value: float
    freedom: int
    """Degrees of freedom: seeds less one, summed over submissions."""


def pooled_deviation(groups: Iterable[Sequence[float]]) -> Deviation | None:
    """Spread between seeds, pooled over submissions, each given by its seeds; None where nothing was replicated."""
    squares, freedom = 0.0, 0
    for group in groups:
        if len(group) > 1:
            mean = math.fsum(group) / len(group)
            squares += math.fsum((value - mean) ** 2 for value in group)
            freedom += len(group) - 1
    return Deviation(math.sqrt(squares / freedom), freedom) if freedom else None
