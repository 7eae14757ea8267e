"""Near-duplicates of a pool: what the command, the function of rules, the named filter and the board's stage share."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.work import current
from datacomp.mapped import new_mapped
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp_filters.neardup.engine import Decision, deduplicate
from datacomp_filters.neardup.keep import RULES
from datacomp_filters.neardup.progress import Report, silent
from datacomp_filters.neardup.rows import Bools, Half, Indices

BLOCK = 1 << 14
FEATURE = "l14_img"
RANK = "clip_l14_similarity_score"


def require_faiss() -> None:
    """`BadInput` when FAISS, an extra, is not installed."""
    if find_spec("faiss") is None:
        hint = "pip install 'datacomp[cpu]', or 'datacomp[gpu]' on a machine with one"
        raise BadInput.of("faiss-missing", "near-duplicates need FAISS, which is not installed", hint=hint)


def gather(pool: Pool, feature: str, rows: Indices, path: Path, report: Report = silent) -> Half:
    """Features of some rows, ascending, in a file that is mapped, so that memory stays bounded: shape (n, width)."""
    pool.require_feature(feature)
    width = next(found.width for found in pool.manifest.features if found.name == feature)
    features = new_mapped(path, np.float16, (rows.size, width))
    for part in pool.shard_rows():
        begin, end = np.searchsorted(rows, [part.start, part.stop])
        for start in range(begin, end, BLOCK):
            stop = min(start + BLOCK, end)
            features[start:stop] = pool.features(feature, part.shard)[rows[start:stop] - part.start]
            report("reading features", stop, rows.size)
    return features


def decide(
    pool: Pool,
    rows: Indices,
    *,
    threshold: float,
    feature: str = FEATURE,
    keep: str = "greedy",
    rank: npt.NDArray[Any] | None = None,
    report: Report = silent,
) -> Decision:
    """Which of some rows (ascending, shape (n,)) are near-duplicates of better-ranked ones. `rank` has a value for
    every row of the pool; without one the smaller uid stays. Errors as of `check_settings`."""
    check_settings(pool, threshold, feature, keep)
    scores = np.zeros(rows.size) if rank is None else np.asarray(rank)[rows]
    with tempfile.TemporaryDirectory(prefix="datacomp-dedup-") as folder:
        features = gather(pool, feature, rows, Path(folder) / "features.npy", report)
        uids = np.asarray(pool.uids)[rows]
        return deduplicate(features, uids, scores, threshold=threshold, keep=keep, scratch=Path(folder), report=report)


def check_settings(pool: Pool, threshold: float, feature: str, keep: str) -> None:
    """`BadInput` for settings that make no sense, and without FAISS."""
    if not 0 < threshold <= 1:
        raise BadInput.of("dedup-threshold", f"a threshold lies above 0, up to 1, not at {threshold:g}")
    if keep not in RULES:
        raise BadInput.of("dedup-keep", f"there is no keep rule {keep!r}", hint=f"one of {', '.join(RULES)}")
    pool.require_feature(feature)
    require_faiss()


def dedup(
    pool: Pool,
    threshold: float = 0.95,
    rank: npt.NDArray[Any] | None = None,
    keep: str = "greedy",
    feature: str = FEATURE,
    where: Bools | None = None,
) -> Bools:
    """The function of rules: of the rows `where` (default all) those that stay; shape (pool.rows,)."""
    check_settings(pool, threshold, feature, keep)
    work = current()
    if work.only_check:
        return np.ones(pool.rows, np.bool_)
    rows = np.flatnonzero(where) if where is not None else np.arange(pool.rows)
    kept = np.zeros(pool.rows, np.bool_)
    if rows.size:
        made = decide(pool, rows, threshold=threshold, feature=feature, keep=keep, rank=rank, report=work.report)
        kept[rows] = ~made.removed
    return kept
