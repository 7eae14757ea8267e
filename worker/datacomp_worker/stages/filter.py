"""The stage `filter`: a participant's expression or code becomes a subset.

Code is scored in the sandbox and nowhere else; the selection rule is an expression, evaluated out here.
"""

from __future__ import annotations

import time

import numpy as np

from datacomp.checks import read_expression
from datacomp.filtering import Selection, select
from datacomp.filtering.work import Work, working
from datacomp.messages import SUBSET_FILE, FilterResult, Progress, SubmissionKind
from datacomp.pool import Pool
from datacomp.problems import BadInput, DatacompError, PlatformFault
from datacomp.uids import write_subset
from datacomp_worker.sandbox import SandboxSettings, find_cgroup, require_sandbox, score_in_sandbox
from datacomp_worker.stages.base import StageContext, StageOutput, in_rows
from datacomp_worker.stages.pools import board_pool
from datacomp_worker.stages.uploads import named_upload


def run(context: StageContext) -> StageOutput:
    """Select; leaves the subset. `BadInput` for all that the filter does wrong, `filter-kept-nothing` among it."""
    started = time.monotonic()
    pool = board_pool(context)
    selection = _select(context, pool)
    if not selection.kept:
        where = f"{context.job.upload.name}: rule {selection.rule}"
        raise BadInput.of("filter-kept-nothing", _nothing(pool, selection), where=where, hint=NOTHING_HINT)
    subset = context.workspace / SUBSET_FILE
    write_subset(subset, selection.uids(pool))
    result = FilterResult(
        rows_in=pool.rows,
        rows_kept=selection.kept,
        nan_scores=selection.nan_scores,
        rule=selection.rule,
        seconds=time.monotonic() - started,
    )
    context.report.log(f"kept {result.rows_kept:,} of {result.rows_in:,} rows by the rule {result.rule}\n")
    return StageOutput(result, {SUBSET_FILE: subset})


NOTHING_HINT = "look at the scores on your own machine: datacomp filter FILE --pool DIR --out uids.npy; then the rule"


def _nothing(pool: Pool, selection: Selection) -> str:
    nan = f" ({selection.nan_scores:,} scores are NaN)" if selection.nan_scores else ""
    return f"the filter keeps none of {pool.rows:,} rows{nan}"


def _select(context: StageContext, pool: Pool) -> Selection:
    match context.job.kind:
        case SubmissionKind.EXPRESSION:
            with working(Work(report=in_rows(context.report))):
                return select(pool, None, read_expression(named_upload(context)))
        case SubmissionKind.CODE:
            return _run_code(context, pool)
    message = f"a submission of kind {context.job.kind} is not filtered"
    raise PlatformFault.of("stage-unfit", message, where=context.job.run)


def _run_code(context: StageContext, pool: Pool) -> Selection:
    settings = SandboxSettings()
    cgroup = find_cgroup(settings.cgroup)
    require_sandbox(cgroup)
    began = time.monotonic()

    def tick(rows: int) -> None:
        rate = rows / max(time.monotonic() - began, 1e-6)
        context.report.progress(Progress(done=rows, total=pool.rows, unit="rows", rate=rate))

    try:
        scored = score_in_sandbox(
            named_upload(context),
            pool,
            settings.limits(pool.rows),
            tick=tick,
            check=context.report.check,
            cgroup=cgroup,
            folder=context.workspace,
        )
    except DatacompError as error:
        context.report.log(error.log_tail)
        raise
    context.report.log(scored.outcome.log)
    scores = np.asarray(scored.scores)
    return select(pool, scores, scored.rule)
