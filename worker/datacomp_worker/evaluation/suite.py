"""A whole suite with one model."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from datacomp.problems import BadInput, PlatformFault, Problem
from datacomp.suite import REHEARSAL_ITEMS, Kind, Suite, Task
from datacomp_worker.evaluation import attributes, probe, retrieval, winogavil, zeroshot
from datacomp_worker.evaluation.data import TaskFolder
from datacomp_worker.evaluation.model import Embedder, Model, embedder
from datacomp_worker.evaluation.overlap import Overlap
from datacomp_worker.evaluation.records import Block, RecordWriter

Records = Callable[[TaskFolder, Embedder, int | None], Iterator[Block]]
KINDS: dict[Kind, Records] = {
    Kind.ZEROSHOT: zeroshot.records,
    Kind.RETRIEVAL: retrieval.records,
    Kind.WINOGAVIL: winogavil.records,
    Kind.ATTRIBUTES: attributes.records,
    Kind.PROBE: probe.records,
}
AT_ONCE = 2
"""Tasks under way: while the last batches of one are embedded, the next one is read already."""
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
    `PlatformFault` names everything that is broken, and no records are left; so when memory does not suffice for one.
    `BadInput`: the model gives no numbers; the task at which it did is named.
    """
    if not suite_dir.is_dir():
        hint = "put the suite's wds_* folders there, or set DATACOMP_SUITES_DIR"
        raise PlatformFault.of("suite-missing", f"this worker has no data of {suite.id}", str(suite_dir), hint)
    problems: list[Problem] = []
    overlap = Overlap[Block](AT_ONCE)
    with RecordWriter(path) as writer, overlap, embedder(model, device) as engine:
        turns = overlap.turns(_blocks(task, suite_dir, engine, rehearsal=suite.rehearsal) for task in suite.tasks)
        for done, (task, blocks) in enumerate(zip(suite.tasks, turns, strict=True)):
            before = writer.count
            tick(done, task, 0)
            try:
                for block in blocks:
                    writer.write(task.key, block)
                    tick(done, task, writer.count - before)
            except PlatformFault as fault:
                problems += fault.problems
            except BadInput as error:
                raise BadInput(*(problem.at(task.key) for problem in error.problems)) from error
            except (MemoryError, RuntimeError) as error:
                if not _is_shortage(error):
                    raise
                problems.append(_shortage(task, writer.count - before))
        if problems:
            raise PlatformFault(*problems)
    return Evaluated(len(suite.tasks), writer.count)


def _blocks(task: Task, suite_dir: Path, engine: Embedder, *, rehearsal: bool) -> Generator[Block]:
    """A task's records, under one variation after the other."""
    folder = TaskFolder.of(task, suite_dir)
    for view in folder.views():
        name = view.variation.name if view.variation is not None else ""
        for block in KINDS[task.kind](view, engine, REHEARSAL_ITEMS if rehearsal else None):
            yield replace(block, variation=name)


def _is_shortage(error: Exception) -> bool:
    """Whether memory was short: PyTorch has a type for it on a GPU, and words alone on a processor."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    shortage = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return shortage or any(word in str(error).lower() for word in words)


def _shortage(task: Task, records: int) -> Problem:
    return Problem(
        code="evaluation-memory",
        message="memory did not suffice for a batch of images or texts",
        where=f"{task.key}: after {records:,} records",
        hint="evaluate on a worker with more memory, or leave it fewer other runs",
    )
