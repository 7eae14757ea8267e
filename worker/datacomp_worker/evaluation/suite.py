"""A whole suite with one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datacomp.problems import PlatformFault, Problem
from datacomp.suite import REHEARSAL_ITEMS, Kind, Suite, Task
from datacomp_worker.evaluation import attributes, retrieval, winogavil, zeroshot
from datacomp_worker.evaluation.data import TaskFolder
from datacomp_worker.evaluation.model import Embedder, Model, embedder
from datacomp_worker.evaluation.records import Block, RecordWriter

Records = Callable[[TaskFolder, Embedder, int | None], Iterator[Block]]
KINDS: dict[Kind, Records] = {
    Kind.ZEROSHOT: zeroshot.records,
    Kind.RETRIEVAL: retrieval.records,
    Kind.WINOGAVIL: winogavil.records,
    Kind.ATTRIBUTES: attributes.records,
}
Tick = Callable[[int, Task, int], None]
"""Told of every step: how many tasks are done, the task in progress, its records so far."""


@dataclass(frozen=True)
class Evaluated:
    """What was written."""

    tasks: int
    records: int


def evaluate_suite(
    suite: Suite, suite_dir: Path, model: Model, path: Path, *, device: str = "cpu", tick: Tick = lambda *_: None
) -> Evaluated:
    """Write the records of every task to `path`. A rehearsal's suite takes only each task's first items.

    `suite_dir` holds the tasks' folders. When a task's data is at fault the others are tried all the same, then
    `PlatformFault` names everything that is broken, and no records are left. `BadInput`: the model gives no numbers.
    """
    if not suite_dir.is_dir():
        hint = "put the suite's wds_* folders there, or set DATACOMP_SUITES_DIR"
        raise PlatformFault.of("suite-missing", f"this worker has no data of {suite.id}", str(suite_dir), hint)
    problems: list[Problem] = []
    with RecordWriter(path) as writer, embedder(model, device) as engine:
        for done, task in enumerate(suite.tasks):
            before = writer.count
            tick(done, task, 0)
            try:
                folder = TaskFolder.of(task, suite_dir)
                for block in KINDS[task.kind](folder, engine, REHEARSAL_ITEMS if suite.rehearsal else None):
                    writer.write(task.key, block)
                    tick(done, task, writer.count - before)
            except PlatformFault as fault:
                problems += fault.problems
        if problems:
            raise PlatformFault(*problems)
    return Evaluated(len(suite.tasks), writer.count)
