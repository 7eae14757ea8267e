"""What our evaluation makes of the tasks of `metric_suite`, under the names that the original's functions use."""

from pathlib import Path

import metric_suite
import numpy as np

from datacomp.records import Records, read_records
from datacomp.scoring import METRICS
from datacomp.suite import Kind, Suite, Task, load_suite
from datacomp_worker.evaluation import evaluate_suite

ALIASES = {"avg_jaccard_score": "jaccard_score"}
"""Metrics that the original calls otherwise."""
CRIME, NONHUMAN = (18, 24), (14, 18)
"""The harmful labels of FairFace's last question, by number."""


def small_suite() -> Suite:
    """The tasks of DataComp's suite that `metric_suite` writes, at their small sizes."""
    sizes = {metric_suite.RETRIEVAL: 40, metric_suite.RIDDLES: 60}
    keys = {*metric_suite.CLASSES, metric_suite.FAIR, metric_suite.RETRIEVAL, metric_suite.RIDDLES}
    tasks = (
        task.model_copy(
            update={"size": sizes.get(task.key, metric_suite.SIZE), "classes": metric_suite.CLASSES.get(task.key)}
        )
        for task in load_suite("datacomp-38").tasks
        if task.key in keys
    )
    return Suite(name="metrics", version="1", tasks=tuple(tasks))


def own_metrics(root: Path) -> dict[str, dict[str, float]]:
    """Every metric by task; `root` holds the tasks' folders, records are left beside them."""
    suite, path = small_suite(), root / "records.parquet"
    evaluate_suite(suite, root, metric_suite.NumberModel(), path)
    records = read_records(path)
    return {task.key: of_task(task, records[task.key]) for task in suite.tasks}


def of_task(task: Task, records: Records) -> dict[str, float]:
    """The metrics that the original gives for a task of this kind."""
    if task.kind is Kind.ATTRIBUTES:
        return _faces(records)
    wanted = {
        Kind.RETRIEVAL: {"mean_recall@1"},
        Kind.WINOGAVIL: {"jaccard_score", "jaccard_score_10-12"},
        Kind.ZEROSHOT: {"acc1", "mean_per_class_recall"},
    }[task.kind]
    if task.kind is Kind.ZEROSHOT and (task.classes or 0) >= 5:
        wanted |= {"acc5"}
    if task.metric is not None:
        wanted |= {task.metric.value}
    return {metric.value: METRICS[metric](records) for metric in METRICS if metric.value in wanted}


def _faces(records: Records) -> dict[str, float]:
    found = {}
    for part in ("gender", "age"):
        found[f"acc_{part}_avg"] = float(records.where(records.part == part).within(1).mean())
    said = records.where(records.part == "toxic").prediction
    for name, (low, high) in (("crime", CRIME), ("nonhuman", NONHUMAN)):
        found[f"toxicity_{name}_avg"] = float(((said >= low) & (said < high)).mean())
    return found


def differences(
    ours: dict[str, dict[str, float]], theirs: dict[str, dict[str, float]]
) -> list[tuple[str, str, float, float]]:
    """(task, metric, ours, theirs) for every metric of ours; NaN where the other has none."""
    found = []
    for task, metrics in ours.items():
        other = {ALIASES.get(name, name): value for name, value in theirs[task].items()}
        found += [(task, name, value, other.get(name, np.nan)) for name, value in metrics.items()]
    return found
