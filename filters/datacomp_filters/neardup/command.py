"""`datacomp dedup`: a pool, or a subset of it, without its near-duplicates."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import read_subset, unknown_problem, write_subset
from datacomp_filters.neardup import over_pool
from datacomp_filters.neardup.engine import Decision
from datacomp_filters.neardup.progress import Report, silent


@dataclass(frozen=True)
class Deduplicated:
    """What came of it."""

    rows_in: int
    rows_kept: int
    """Rows of the subset, repeats counted."""
    decision: Decision


def run_dedup(
    pool_dir: Path,
    out: Path,
    *,
    subset: Path | None,
    threshold: float,
    feature: str,
    rank: str,
    keep: str,
    report: Report = silent,
) -> Deduplicated:
    """Write what stays. A sample that goes, goes with all its repeats. `BadInput` for uids that the pool lacks and
    settings that make no sense; `out` is written complete or not at all."""
    pool = Pool.open(pool_dir)
    uids = read_subset(subset) if subset is not None else np.asarray(pool.sorted_uids)
    at = pool.rows_of(uids)
    if (at < 0).any():
        raise BadInput(unknown_problem(np.flatnonzero(at < 0), uids))
    rows, place = np.unique(at, return_inverse=True)
    column = None
    if rank:
        pool.require_columns([rank])
        if pool.manifest.column(rank) is None or np.asarray(pool.column(rank)[:0]).dtype.kind not in "fiu":
            raise BadInput.of("column-type", f"{rank!r} is not a column of numbers", where="rank")
        column = pool.column(rank)
    decision = over_pool.decide(pool, rows, threshold=threshold, feature=feature, keep=keep, rank=column, report=report)
    kept = uids[~decision.removed[place]]
    temporary = out.with_name(f"{out.name}.tmp")
    try:
        write_subset(temporary, kept)
        temporary.replace(out)
    except OSError as error:
        raise BadInput.of("out-unwritable", f"cannot write the subset: {error}", where=str(out)) from error
    return Deduplicated(int(uids.size), int(kept.size), decision)
