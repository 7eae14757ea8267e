"""The plan of a submission: which runs it consists of, and which follows which. Read this to know the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datacomp.messages import DedupMode, Stage, SubmissionKind


@dataclass(frozen=True)
class PlannedRun:
    """One run of the plan; `after` is the place in the plan of the run whose end it waits for."""

    stage: Stage
    seed: int
    queue: str
    after: int | None


def plan_runs(
    kind: SubmissionKind,
    *,
    dedup: DedupMode,
    seeds: Sequence[int],
    data_queue: str,
    train_queue: str,
    rehearsal: bool,
) -> list[PlannedRun]:
    """validate -> [fetch -> decontaminate] or [filter] -> [dedup] -> subset -> per seed: train -> evaluate.

    A rehearsal takes one seed through the data queue: its few steps run anywhere.
    """
    stages = [Stage.VALIDATE]
    if kind is SubmissionKind.DATASET:
        stages += [Stage.FETCH, Stage.DECONTAMINATE]
    if kind in {SubmissionKind.CODE, SubmissionKind.EXPRESSION}:
        stages.append(Stage.FILTER)
    if dedup is not DedupMode.OFF:
        stages.append(Stage.DEDUP)
    stages.append(Stage.SUBSET)
    plan = [PlannedRun(stage, 0, data_queue, place - 1 if place else None) for place, stage in enumerate(stages)]
    subset = len(plan) - 1
    queue = data_queue if rehearsal else train_queue
    for seed in seeds[:1] if rehearsal else seeds:
        plan.append(PlannedRun(Stage.TRAIN, seed, queue, subset))
        plan.append(PlannedRun(Stage.EVALUATE, seed, queue, len(plan) - 1))
    return plan
