"""The stage `validate`: everything that can be known of a submission's file without running it."""

from __future__ import annotations

from datacomp.bitmap import expand, is_bitmap
from datacomp.checks import check_file
from datacomp.messages import SUBSET_FILE, Progress, SubmissionKind
from datacomp.problems import PlatformFault, raise_if_any
from datacomp.uids import open_subset, write_subset
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.pools import board_pool
from datacomp_worker.stages.uploads import named_upload


def run(context: StageContext) -> StageOutput:
    """Check the upload; for uids, leave the subset as canonical npy. `BadInput` lists all problems at once.

    A bitmap is expanded first: from there on all is as if the npy file that it stands for had been sent.
    """
    pool = board_pool(context)
    upload = named_upload(context)
    subset = context.workspace / SUBSET_FILE
    expanded = context.job.kind is SubmissionKind.UIDS and is_bitmap(upload)
    if expanded:
        expand(upload, pool, subset)

    def report(done: int, total: int) -> None:
        context.report.progress(Progress(done=done, total=total, unit="rows"))

    checked = check_file(subset if expanded else upload, pool, context.job.kind, report=report)
    raise_if_any(checked.problems)
    if checked.result is None:
        raise PlatformFault.of("check-incomplete", "the check found neither problems nor figures", where=upload.name)
    context.report.log(f"{upload.name}: {checked.summary}\n")
    if context.job.kind is not SubmissionKind.UIDS:
        return StageOutput(checked.result)
    if not expanded:
        write_subset(subset, open_subset(upload))
    return StageOutput(checked.result, {SUBSET_FILE: subset})
