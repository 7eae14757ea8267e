"""The stage `evaluate`: the whole suite, with the trained model loaded once. It leaves records; the server scores."""

from __future__ import annotations

import time

from datacomp.messages import CHECKPOINT_FILE, RECORDS_FILE, EvaluateResult, Progress
from datacomp.problems import BadInput, PlatformFault
from datacomp.scales import get_scale
from datacomp.suite import Suite, Task, load_suite, rehearsal_of
from datacomp_worker.evaluation import evaluate_suite
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.tracks import clip

SUITE_FILE = "suite.json"
"""A suite that is not packaged lies beside its data."""


def run(context: StageContext) -> StageOutput:
    """Write `records.parquet`. A rehearsal evaluates the first few items of each task."""
    started = time.monotonic()
    suite = board_suite(context)
    if context.job.rehearsal:
        suite = rehearsal_of(suite)
    model = clip.load(context.input(CHECKPOINT_FILE), get_scale(context.job.board.scale), device=context.device)
    path = context.workspace / RECORDS_FILE

    def tick(done: int, task: Task, items: int) -> None:
        share = min(items / task.size, 1.0) if task.size else 0.0
        progress = Progress(done=done + 0.999 * share, total=len(suite.tasks), unit="tasks", note=task.name)
        context.report.progress(progress)

    evaluated = evaluate_suite(suite, context.suite_dir, model, path, device=context.device, tick=tick)
    seconds = time.monotonic() - started
    context.report.progress(Progress(done=evaluated.tasks, total=evaluated.tasks, unit="tasks"))
    context.report.log(f"{evaluated.records:,} records of {evaluated.tasks} tasks in {seconds:.1f} s\n")
    result = EvaluateResult(
        tasks=evaluated.tasks, records=evaluated.records, seconds=seconds, suite_digest=suite.digest
    )
    return StageOutput(result, {RECORDS_FILE: path})


def board_suite(context: StageContext) -> Suite:
    """The suite of the job's board; `PlatformFault` when this worker's is another one."""
    board, own = context.job.board, context.suite_dir / SUITE_FILE
    try:
        suite = load_suite(own if own.is_file() else board.suite)
    except BadInput as error:  # this host's fault, not the participant's
        raise PlatformFault(*error.problems) from error
    if suite.digest != board.suite_digest:
        message = (
            f"this worker's suite {board.suite} is another one: {suite.digest[:16]}, not {board.suite_digest[:16]}"
        )
        hint = f"run the server's version of the platform here, or put the board's suite file at {own}"
        raise PlatformFault.of("suite-differs", message, where=board.suite, hint=hint)
    return suite
