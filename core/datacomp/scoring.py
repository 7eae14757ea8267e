"""Scores as a pure function of records and suite: nothing else, so that stored records can be scored again.

What records are stands in `datacomp.records`; how varied and probed tasks are scored in `datacomp.conditions`. Metrics
follow DataComp's evaluation (mlfoundations/datacomp, `eval_utils`), CLIP_benchmark and WILDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datacomp.conditions import check_conditions, value_and_details
from datacomp.problems import Problem, raise_if_any
from datacomp.records import FIELDS, IMAGE_TO_TEXT, TEXT_TO_IMAGE, Records, read_records, record_schema
from datacomp.statistics.centered import centered_mean
from datacomp.suite import Kind, Metric, Suite, Task

__all__ = ["FIELDS", "IMAGE_TO_TEXT", "TEXT_TO_IMAGE", "Records", "read_records", "record_schema"]
OTHER_GROUP = "Other"
"""WILDS leaves this region of FMoW (4 of 22,108 images) out of the worst-region accuracy. DataComp's evaluation means
to but no longer knows the regions by name, and so counts it: hence the many published values of exactly 0."""
LARGE = 10
"""WinoGAViL counts items of at least so many candidates."""


@dataclass(frozen=True)
class TaskValue:
    """One task's main metric over `n` items; None for tasks without a summary metric."""

    value: float | None
    n: int
    details: dict[str, float] = field(default_factory=dict)
    """What is told besides, by name, of probes and varied tasks."""


@dataclass(frozen=True)
class Aggregate:
    """A suite's summary. A mean is None, or its group absent, as soon as one of its tasks is missing."""

    average: float | None
    main: float | None
    """The first task of group `main`."""
    groups: dict[str, float]


def score_records(path: Path, suite: Suite) -> dict[str, TaskValue]:
    """The value of every task of the suite. `BadInput` names missing, unknown and inconsistent tasks, all at once."""
    return task_values(checked_records(path, suite), suite)


def checked_records(path: Path, suite: Suite) -> dict[str, Records]:
    """The records of every task of the suite, by key. `BadInput` as in `score_records`."""
    by_task = read_records(path)
    problems = [
        Problem(code="records-task-missing", message="a task of the suite has no records", where=task.key)
        for task in suite.tasks
        if task.key not in by_task
    ]
    known = {task.key for task in suite.tasks}
    problems += [
        Problem(code="records-task-unknown", message=f"the suite {suite.id} has no such task", where=key)
        for key in by_task
        if key not in known
    ]
    for task in suite.tasks:
        if task.key in by_task:
            problems += _check(task, by_task[task.key])
    raise_if_any(problems)
    return by_task


def task_values(records: Mapping[str, Records], suite: Suite) -> dict[str, TaskValue]:
    """The value of every task of the suite, from checked records by key."""
    return {task.key: _value(task, records[task.key]) for task in suite.tasks}


def _check(task: Task, records: Records) -> list[Problem]:
    """What makes a task's records unfit: items missing or twice, or another number than the suite says."""
    problems = check_conditions(task, records)
    columns = (records.item, records.part, records.variation, records.shots, records.draw)
    order = np.lexsort(columns)
    if np.logical_and.reduce([(column := one[order])[1:] == column[:-1] for one in columns]).any():
        problems.append(Problem(code="records-twice", message="an item has two records", where=task.key))
    if task.kind is Kind.RETRIEVAL and {*np.unique(records.part)} != {IMAGE_TO_TEXT, TEXT_TO_IMAGE}:
        message = f"retrieval is asked both ways, {IMAGE_TO_TEXT} and {TEXT_TO_IMAGE}"
        problems.append(Problem(code="records-parts", message=message, where=task.key))
    n = records.items()
    if task.size is not None and n != task.size:
        message = f"{n:,} items, the suite says {task.size:,}"
        problems.append(Problem(code="records-count", message=message, where=task.key))
    return problems


def _value(task: Task, records: Records) -> TaskValue:
    n = records.items()
    if task.metric is None:
        return TaskValue(None, n)
    value, details = value_and_details(task, records, METRICS[task.metric])
    return TaskValue(value, n, details)


def aggregate(values: Mapping[str, float], suite: Suite) -> Aggregate:
    """Means over the suite's counted tasks. `values` holds each task's main metric by key."""
    main = next((task for task in suite.counted if task.group == "main"), None)
    groups = {group: _mean(values, tasks) for group, tasks in suite.groups().items()}
    return Aggregate(
        average=_mean(values, suite.counted),
        main=values.get(main.key) if main else None,
        groups={group: value for group, value in groups.items() if value is not None},
    )


def _mean(values: Mapping[str, float], tasks: tuple[Task, ...]) -> float | None:
    if not tasks or any(task.key not in values for task in tasks):
        return None
    return float(np.mean([values[task.key] for task in tasks]))


def centered_average(values: Mapping[str, float], suite: Suite) -> float | None:
    """Mean of the counted tasks' scores centred at chance (DCLM's way); None when a task or its chance is missing."""
    chances = {task.key: task.chance for task in suite.counted if task.chance is not None}
    if len(chances) < len(suite.counted):
        return None
    return centered_mean(values, chances, [task.key for task in suite.counted])


# --- metrics ---------------------------------------------------------------------------------------------------------


def accuracy(records: Records, k: int = 1) -> float:
    """Share of items whose right class is among the k best."""
    return float(records.within(k).mean())


def mean_per_class_recall(records: Records) -> float:
    """Mean over the classes that occur of the share of their items that are recognised (balanced accuracy)."""
    right = records.prediction == records.label
    return float(np.mean([right[records.label == label].mean() for label in np.unique(records.label)]))


def mean_recall_at_1(records: Records) -> float:
    """Mean of text and image recall@1: for every query, is a match ranked first?"""
    return float(np.mean([records.within(1)[records.part == part].mean() for part in np.unique(records.part)]))


def jaccard(records: Records, least: int = 0) -> float:
    """Mean Jaccard index between the chosen and the right candidates, of items with at least so many candidates.

    NaN where there are none.
    """
    values = records.value[records.group.astype(np.int64) >= least] if least else records.value
    return float(values.mean()) if values.size else float("nan")


def f1_macro(records: Records) -> float:
    """Mean over the classes that occur among the labels of their F1 score (WILDS, iWildCam)."""
    scores = []
    for label in np.unique(records.label):
        true, said = records.label == label, records.prediction == label
        hits = int((true & said).sum())
        scores.append(2 * hits / (int(true.sum()) + int(said.sum())))
    return float(np.mean(scores))


def worst_group(records: Records, k: int = 1, *, without: str = "") -> float:
    """The smallest group's accuracy among the groups that occur, `without` and unnamed ones aside."""
    right = records.within(k)
    groups = [group for group in np.unique(records.group) if group not in {"", without}]
    return float(min(right[records.group == group].mean() for group in groups)) if groups else accuracy(records, k)


METRICS: dict[Metric, Callable[[Records], float]] = {
    Metric.ACC1: accuracy,
    Metric.ACC5: lambda records: accuracy(records, 5),
    Metric.MEAN_PER_CLASS_RECALL: mean_per_class_recall,
    Metric.MEAN_RECALL_AT_1: mean_recall_at_1,
    Metric.JACCARD: jaccard,
    Metric.JACCARD_LARGE: lambda records: jaccard(records, LARGE),
    Metric.F1_MACRO: f1_macro,
    Metric.WORST_REGION: lambda records: worst_group(records, without=OTHER_GROUP),
    Metric.WORST_GROUP_ACC5: lambda records: worst_group(records, 5),
    Metric.WORST_GROUP_ACC1: worst_group,
}
