"""Scores as a pure function of records and suite: nothing else, so that stored records can be scored again.

A record is one atomic outcome. In a records file (Parquet) a row has

- `task` (string): the task's key; `item` (int64): the item's place in the task's data; `part` (string): which question
  was asked of it (`image_to_text`, `text_to_image` for retrieval, where the latter's items are captions; the
  attribute's name for tasks of several attributes; else empty)
- `label`, `prediction` (int32): class numbers, -1 where there are none
- `rank` (int32): how many candidates scored above the right one (0 = top-1 correct), -1 where there is none
- `value` (float64): the item's own score, where it has one (WinoGAViL: Jaccard index), else NaN
- `group` (string): the item's group, for worst-group metrics; its number of candidates (WinoGAViL); else empty

Metrics follow DataComp's evaluation (mlfoundations/datacomp, `eval_utils`), CLIP_benchmark and WILDS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.suite import Kind, Metric, Suite, Task

if TYPE_CHECKING:
    import pyarrow as pa

FIELDS = ("task", "item", "part", "label", "prediction", "rank", "value", "group")
IMAGE_TO_TEXT, TEXT_TO_IMAGE = "image_to_text", "text_to_image"
OTHER_GROUP = "Other"
"""WILDS leaves this region of FMoW (4 of 22,108 images) out of the worst-region accuracy. DataComp's evaluation means
to but no longer knows the regions by name, and so counts it: hence the many published values of exactly 0."""
LARGE = 10
"""WinoGAViL counts items of at least so many candidates."""


def record_schema() -> pa.Schema:
    """The Arrow schema of a records file."""
    import pyarrow as pa

    types = (pa.string(), pa.int64(), pa.string(), pa.int32(), pa.int32(), pa.int32(), pa.float64(), pa.string())
    return pa.schema([pa.field(name, kind, nullable=False) for name, kind in zip(FIELDS, types, strict=True)])


@dataclass(frozen=True)
class TaskValue:
    """One task's main metric over `n` items; None for tasks without a summary metric."""

    value: float | None
    n: int


@dataclass(frozen=True)
class Aggregate:
    """A suite's summary. A mean is None, or its group absent, as soon as one of its tasks is missing."""

    average: float | None
    main: float | None
    """The first task of group `main`."""
    groups: dict[str, float]


@dataclass(frozen=True)
class Records:
    """The records of one task, as columns of equal length."""

    item: npt.NDArray[np.int64]
    part: npt.NDArray[np.str_]
    label: npt.NDArray[np.int32]
    prediction: npt.NDArray[np.int32]
    rank: npt.NDArray[np.int32]
    value: npt.NDArray[np.float64]
    group: npt.NDArray[np.str_]

    def within(self, k: int) -> npt.NDArray[np.bool_]:
        """Whether the right answer is among the k best."""
        found: npt.NDArray[np.bool_] = (self.rank >= 0) & (self.rank < k)
        return found


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


def read_records(path: Path) -> dict[str, Records]:
    """The records of a file by task. `BadInput` when it holds none; whether they fit a suite is not looked at."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise BadInput.of("records-unreadable", f"not a Parquet file of records: {error}", where=path.name) from error
    if not table.schema.equals(record_schema()):
        message = f"the columns are {', '.join(f'{f.name} {f.type}' for f in table.schema)}"
        raise BadInput.of("records-schema", message, where=path.name, hint=f"expected {', '.join(FIELDS)}")
    columns = {name: table.column(name).to_numpy() for name in FIELDS}
    tasks = columns.pop("task").astype(str)
    order = np.argsort(tasks, kind="stable")
    names, starts = np.unique(tasks[order], return_index=True)
    found = {}
    for name, rows in zip(names, np.split(order, starts[1:]), strict=True):
        picked = {field: column[rows] for field, column in columns.items()}
        texts = {field: picked[field].astype(str) for field in ("part", "group")}
        found[str(name)] = Records(**{**picked, **texts})
    return found


def _check(task: Task, records: Records) -> list[Problem]:
    """What makes a task's records unfit: items missing or twice, or another number than the suite says."""
    problems = []
    keys = np.char.add(np.char.add(records.part, "/"), records.item.astype(str))
    if np.unique(keys).size != keys.size:
        problems.append(Problem(code="records-twice", message="an item has two records", where=task.key))
    if task.kind is Kind.RETRIEVAL and {*np.unique(records.part)} != {IMAGE_TO_TEXT, TEXT_TO_IMAGE}:
        message = f"retrieval is asked both ways, {IMAGE_TO_TEXT} and {TEXT_TO_IMAGE}"
        problems.append(Problem(code="records-parts", message=message, where=task.key))
    n = _items(records)
    if task.size is not None and n != task.size:
        message = f"{n:,} items, the suite says {task.size:,}"
        problems.append(Problem(code="records-count", message=message, where=task.key))
    return problems


def _items(records: Records) -> int:
    """How many items the records tell of; captions to find images by are none."""
    return int(np.unique(records.item[records.part != TEXT_TO_IMAGE]).size)


def _value(task: Task, records: Records) -> TaskValue:
    n = _items(records)
    if task.metric is None:
        return TaskValue(None, n)
    return TaskValue(METRICS[task.metric](records), n)


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
