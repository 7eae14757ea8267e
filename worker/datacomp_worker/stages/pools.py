"""The board's pool on this worker, for the stages that read it."""

from __future__ import annotations

from datacomp.messages import DATASET_FILE, SubmissionKind
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.byod.store import unpacked
from datacomp_worker.stages.base import StageContext


def board_pool(context: StageContext) -> Pool:
    """The pool that the job's subset is of: its board's, or the dataset's own once that is fetched. `PlatformFault`
    when the board's it is not ingested here, or is not the one the board names."""
    if context.job.kind is SubmissionKind.DATASET and DATASET_FILE in context.inputs:
        return unpacked(context.input(DATASET_FILE), context.scratch)
    try:
        pool = Pool.open(context.pool_dir)
    except BadInput as error:  # this host's fault, not the participant's
        raise PlatformFault(*error.problems) from error
    wanted, found = context.job.board.pool_digest, pool.manifest.digest
    if wanted is not None and found != wanted:
        hint = "give this worker the board's pool, or, if the pool was meant to change, a new board"
        message = f"this worker's pool {context.job.board.pool!r} is another one: {found[:16]}, not {wanted[:16]}"
        raise PlatformFault.of("pool-digest", message, where=str(context.pool_dir), hint=hint)
    return pool
