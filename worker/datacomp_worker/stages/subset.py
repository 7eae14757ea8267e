"""subset: settle what is trained on, and have its shards at hand.

What is promoted is small: the uids and a report. The shards, by default virtual ones in the pool's own tars, stay in
this host's scratch, and the host that trains finds them there or makes them again. A site that has ingested metadata
alone hands the uids on as they are: which of them have an image is known where the images are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import numpy as np

from datacomp.commands.kept import counts_of, kept_of
from datacomp.filtering.functions import EVAL_SIMILARITY
from datacomp.messages import (
    REPORT_FILE,
    SKETCH_FILE,
    SUBSET_FILE,
    FetchResult,
    Progress,
    SourceShare,
    Stage,
    SubsetResult,
)
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.scales import REHEARSAL_BATCH, REHEARSAL_STEPS
from datacomp.sketches import sketch_of
from datacomp.uids import Uids, find, from_hex, read_subset, sort, to_hex, write_subset
from datacomp_worker.byod.store import SOURCE
from datacomp_worker.settings import CacheSettings
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.shards import Shards, SubsetShards, write_mixture
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.pools import board_pool
from datacomp_worker.subsets import Mixed, Part, Selection, materialise
from datacomp_worker.tracks import clip

NEAR = 0.95
"""Cosine from which a receipt counts a sample as near an evaluation image."""
MIXTURE = "mixture"
REHEARSAL_SAMPLES = REHEARSAL_STEPS * REHEARSAL_BATCH


def run(context: StageContext) -> StageOutput:
    """Drop what has no image here, write the rest as `subset.npy`, have its samples in shards."""
    given = read_subset(context.input(SUBSET_FILE))
    uids = without_removed(given, context.job.removed)
    pool = board_pool(context)
    if pool.manifest.tars:
        with shards_of(context, uids) as (selection, shards):
            count = shards.shards
    else:
        selection, count = Selection(uids, unavailable=int(uids.size)), 0
    uids_file = context.workspace / SUBSET_FILE
    write_subset(uids_file, selection.uids)
    result = SubsetResult(
        samples=int(selection.uids.size),
        unique=selection.unique,
        unavailable=selection.unavailable,
        removed=int(given.size - uids.size),
        shards=count,
        subset_digest=selection.digest,
        pool_digest=pool.manifest.digest,
        near_evaluation=near_evaluation(pool, selection.uids),
        near_threshold=NEAR if EVAL_SIMILARITY in pool.names else None,
        kept=kept_of(pool, counts_of(pool, pool.rows_of(selection.uids)), without=context.job.removed),
        sources=_shares(selection),
        removed_uids=_left_out(given, context.job.removed) if uids.size < given.size else [],
    )
    report = context.workspace / REPORT_FILE
    report.write_text(result.model_dump_json(indent=1))
    gone = f", {result.removed:,} removed from the pool on request" if result.removed else ""
    context.report.log(f"{result.samples:,} samples in {count} shards, {selection.unavailable:,} unavailable{gone}\n")
    sketch = context.workspace / SKETCH_FILE
    sketch.write_bytes(sketch_of(selection.uids).to_bytes())
    return StageOutput(result, {SUBSET_FILE: uids_file, SKETCH_FILE: sketch, REPORT_FILE: report})


def near_evaluation(pool: Pool, uids: Uids) -> int | None:
    """How many different samples of a sorted subset are near an evaluation image; None where the pool does not know."""
    if EVAL_SIMILARITY not in pool.names:
        return None
    rows = np.unique(pool.rows_of(uids))
    return int((np.asarray(pool.column(EVAL_SIMILARITY)[rows[rows >= 0]]) >= np.float32(NEAR)).sum())


def without_removed(uids: Uids, removed: list[str]) -> Uids:
    """A sorted subset without the samples that were removed from its pool. `BadInput` when nothing is left."""
    if not removed:
        return uids
    kept = uids[find(uids, sort(from_hex(removed))) < 0]
    if not kept.size:
        raise BadInput.of("subset-removed", "every sample of the subset was removed from the pool on request")
    return kept


def _left_out(uids: Uids, removed: list[str]) -> list[str]:
    """Those of the removed uids that a sorted subset has."""
    gone = sort(from_hex(removed))
    return to_hex(gone[find(gone, uids) >= 0])


@contextmanager
def shards_of(context: StageContext, uids: Uids) -> Iterator[tuple[Selection, Shards]]:
    """The selection that a sorted subset stands for, and its shards, which stay while the context lasts."""
    pool = board_pool(context)
    selection = clip.pool_rows(pool, uids, limit=REHEARSAL_SAMPLES if context.job.rehearsal else None)
    selection = by_source(pool, selection, named_sources(context))

    settings = CacheSettings()
    unit = "tars" if settings.subsets == "virtual" else "samples"

    def report(done: int, total: int) -> None:
        context.report.progress(Progress(done=done, total=total, unit=unit))

    cache = ShardCache(context.scratch, settings.subset_cache_bytes)

    def made(of: Selection) -> AbstractContextManager[SubsetShards]:
        return materialise(pool, of, cache, report=report, check=context.report.check, kind=settings.subsets)

    with ExitStack() as stack:
        if not isinstance(selection, Mixed):
            yield selection, stack.enter_context(made(selection))
            return
        sources = [(stack.enter_context(made(part.selection)).directory, part.weight) for part in selection.parts]
        yield selection, write_mixture(context.workspace / MIXTURE, sources)


def named_sources(context: StageContext) -> list[SourceShare]:
    """The sources of a fetched dataset."""
    fetched = context.job.facts.get(Stage.FETCH)
    return FetchResult.model_validate(fetched).sources if fetched else []


def by_source(pool: Pool, selection: Selection, sources: list[SourceShare]) -> Selection:
    """The selection, taken apart where samples of two or more sources are in it."""
    if len(sources) < 2:
        return selection
    names = np.concatenate([np.asarray(pool.metadata_column(SOURCE, p.shard).to_pylist()) for p in pool.shard_rows()])
    of_row = names[pool.rows_of(selection.uids)]
    parts = [Part(one.name, Selection(selection.uids[of_row == one.name], 0), one.weight) for one in sources]
    there = tuple(part for part in parts if part.selection.uids.size)
    return Mixed(selection.uids, selection.unavailable, there) if len(there) > 1 else selection


def _shares(selection: Selection) -> list[SourceShare]:
    """What is trained on of each source."""
    parts = selection.parts if isinstance(selection, Mixed) else ()
    return [
        SourceShare(name=one.name, weight=one.weight, samples=one.selection.uids.size, digest=one.selection.digest)
        for one in parts
    ]
