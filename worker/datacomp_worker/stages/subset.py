"""subset: settle what is trained on, and have its shards at hand.

What is promoted is small: the uids and a report. The shards stay in this host's scratch, and the host that trains
finds them there or makes them again. A site that has ingested metadata alone hands the uids on as they are: which of
them have an image is known where the images are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datacomp.messages import REPORT_FILE, SUBSET_FILE, Progress, SubsetResult
from datacomp.scales import REHEARSAL_BATCH, REHEARSAL_STEPS
from datacomp.uids import read_subset, write_subset
from datacomp_worker.settings import CacheSettings
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.pools import board_pool
from datacomp_worker.subsets import Selection, SubsetShards, materialise
from datacomp_worker.tracks import clip

REHEARSAL_SAMPLES = REHEARSAL_STEPS * REHEARSAL_BATCH


def run(context: StageContext) -> StageOutput:
    """Drop what has no image here, write the rest as `subset.npy`, copy its samples into shards."""
    if board_pool(context).manifest.tars:
        with shards_of(context) as (selection, shards):
            count = shards.shards
    else:
        uids = read_subset(context.input(SUBSET_FILE))
        selection, count = Selection(uids, unavailable=int(uids.size)), 0
    uids_file = context.workspace / SUBSET_FILE
    write_subset(uids_file, selection.uids)
    result = SubsetResult(
        samples=int(selection.uids.size),
        unique=selection.unique,
        unavailable=selection.unavailable,
        shards=count,
        subset_digest=selection.digest,
    )
    report = context.workspace / REPORT_FILE
    report.write_text(result.model_dump_json(indent=1))
    context.report.log(f"{result.samples:,} samples in {count} shards, {selection.unavailable:,} unavailable\n")
    return StageOutput(result, {SUBSET_FILE: uids_file, REPORT_FILE: report})


@contextmanager
def shards_of(context: StageContext) -> Iterator[tuple[Selection, SubsetShards]]:
    """The selection that the latest `subset.npy` stands for, and its shards, which stay while the context lasts."""
    pool = board_pool(context)
    uids = read_subset(context.input(SUBSET_FILE))
    selection = clip.pool_rows(pool, uids, limit=REHEARSAL_SAMPLES if context.job.rehearsal else None)

    def report(done: int, total: int) -> None:
        context.report.progress(Progress(done=done, total=total, unit="samples"))

    cache = ShardCache(context.scratch, CacheSettings().subset_cache_bytes)
    with materialise(pool, selection, cache, report=report, check=context.report.check) as shards:
        yield selection, shards
