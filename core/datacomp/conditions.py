"""Scores of tasks whose items are asked more than once: under variations, and by probes that learnt from few items.

A probe's value is the mean over its numbers of shots of the mean over draws; a varied task's is the mean over
variations. What is told besides (`details`): of a probe the mean and the standard deviation over draws (with n - 1) at
each number of shots; of a varied task each variation's value, the worst, the spread and whether variations differ by
more than chance.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datacomp.probing import shots_name
from datacomp.problems import Problem
from datacomp.records import Records
from datacomp.statistics.variations import overdispersion, same_items, variations
from datacomp.suite import Metric, Task

Value = Callable[[Records], float]


def value_and_details(task: Task, records: Records, metric: Value) -> tuple[float, dict[str, float]]:
    """The task's value under one metric, and what is told besides."""
    if not task.vary:
        return _learnt(task, records, metric)
    names = [variation.name for variation in task.vary]
    shown = {name: records.where(records.variation == name) for name in names}
    values = {name: _learnt(task, found, metric)[0] for name, found in shown.items()}
    worst, best = min(values.values()), max(values.values())
    told = {**values, "worst variation": worst, "spread of variations": best - worst}
    return float(np.mean(list(values.values()))), {**told, **_tests(task, list(shown.values()))}


def _learnt(task: Task, records: Records, metric: Value) -> tuple[float, dict[str, float]]:
    if task.probe is None:
        return metric(records), {}
    told: dict[str, float] = {}
    means = []
    for shots in task.probe.shots:
        of_shots = records.where(records.shots == shots)
        values = [metric(of_shots.where(of_shots.draw == draw)) for draw in np.unique(of_shots.draw)]
        means.append(float(np.mean(values)))
        told[shots_name(shots)] = means[-1]
        if len(values) > 1:
            told[f"{shots_name(shots)} sd"] = float(np.std(values, ddof=1))
    return float(np.mean(means)), told


def _tests(task: Task, shown: list[Records]) -> dict[str, float]:
    """Of a probe, the last training stands for all: those of several draws are no independent trials."""
    right = np.stack([_right(task, _last_training(task, found)) for found in shown], axis=1)
    n = np.full(right.shape[1], right.shape[0])
    table = variations(right.sum(axis=0), n)
    told = {"homogeneity p": table.homogeneity_p, "same items p": same_items(right)}
    rho = overdispersion(right.sum(axis=0), n)
    return told if np.isnan(rho) else {**told, "over-dispersion": rho}


def _last_training(task: Task, records: Records) -> Records:
    if task.probe is None:
        return records
    shots, draw = [(condition.shots, condition.draw) for condition in task.probe.conditions()][-1]
    return records.where((records.shots == shots) & (records.draw == draw))


def _right(task: Task, records: Records) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which questions were answered rightly, in the order of part and item; riddles when solved completely."""
    order = np.lexsort((records.item, records.part))
    k = 5 if task.metric in {Metric.ACC5, Metric.WORST_GROUP_ACC5} else 1
    solved = records.within(k) if (records.rank >= 0).any() else records.value == 1.0
    right: np.ndarray[tuple[int], np.dtype[np.bool_]] = solved[order]
    return right


def check_conditions(task: Task, records: Records) -> list[Problem]:
    """What is wrong when not every item has exactly one record under every variation and for every training."""
    names = [variation.name for variation in task.vary] or [""]
    trainings = [(c.shots, c.draw) for c in task.probe.conditions()] if task.probe else [(-1, -1)]
    wanted = {(name, *training) for name in names for training in trainings}
    cells = np.stack([records.variation, records.shots.astype(str), records.draw.astype(str)])
    found, counts = np.unique(cells, axis=1, return_counts=True)
    present = {(str(name), int(shots), int(draw)) for name, shots, draw in found.T}
    if present != wanted:
        odd = sorted(present ^ wanted)[0]
        message = (
            f"{len(wanted - present)} of {len(wanted)} conditions are missing, {len(present - wanted)} unknown: {odd}"
        )
        return [Problem(code="records-conditions", message=message, where=task.key)]
    if len(set(counts.tolist())) > 1:
        message = f"conditions have from {counts.min():,} to {counts.max():,} records"
        return [Problem(code="records-conditions", message=message, where=task.key)]
    return []
