"""The stage `dedup`: near-duplicates within the subset, reported or removed, as the board says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.messages import REPORT_FILE, SUBSET_FILE, DedupMode, DedupResult, DedupSetting
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.uids import Uids, order, read_subset, to_hex, write_subset
from datacomp_filters.neardup import Decision, deduplicate, over_pool
from datacomp_worker.stages.base import Reporter, StageContext, StageOutput, in_rows
from datacomp_worker.stages.pools import board_pool

EXAMPLES = 20
BLOCK = 1 << 14
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Candidates:
    """The subset's distinct samples, in pool order."""

    uids: Uids
    features: npt.NDArray[np.float16]
    """Shape (n, width), mapped from a file."""
    scores: npt.NDArray[Any]


def run(context: StageContext) -> StageOutput:
    """Decide which samples are near-duplicates of a better-ranked one. Every row of a sample that goes, goes."""
    setting, report = context.job.board.dedup, context.report
    if find_spec("faiss") is None:
        hint = "install the extra cpu or gpu: pip install 'datacomp[worker,cpu]'"
        raise PlatformFault.of("faiss-missing", "this worker has no FAISS", hint=hint)
    pool = board_pool(context)
    subset = read_subset(context.input(SUBSET_FILE))
    rows, place = np.unique(_rows(pool, subset), return_inverse=True)
    candidates = gather(pool, rows, setting, context.workspace / "features.npy", report)
    decision = decide(candidates, setting, context.workspace, report)
    keep = ~decision.removed[place]
    result = _result(decision, setting, keep)
    path = context.workspace / REPORT_FILE
    path.write_text(json.dumps(describe(result, setting, candidates, decision), indent=1))
    report.log(f"{result.removable:,} of {result.rows_in:,} rows are near-duplicates of better-ranked ones\n")
    if setting.mode is not DedupMode.APPLY:
        return StageOutput(result, {REPORT_FILE: path})
    reduced = context.workspace / SUBSET_FILE
    write_subset(reduced, subset[keep])
    return StageOutput(result, {REPORT_FILE: path, SUBSET_FILE: reduced})


def _rows(pool: Pool, subset: Uids) -> Indices:
    rows = pool.rows_of(subset)
    if (rows < 0).any():
        message = f"{int((rows < 0).sum()):,} uids of a validated subset are not in this worker's pool"
        raise PlatformFault.of("pool-changed", message, where=str(pool.directory), hint="give it the board's pool")
    return rows


def gather(pool: Pool, rows: Indices, setting: DedupSetting, path: Path, report: Reporter) -> Candidates:
    """Features and rank scores of some rows, ascending; the features go to a file, so that memory stays bounded.

    `PlatformFault` names the features, or columns, there are when the pool lacks the board's.
    """
    try:
        pool.require_feature(setting.feature)
        scores = np.asarray(pool.column(setting.rank))[rows]
    except BadInput as error:  # the board's setting, not the participant's
        raise PlatformFault(*error.problems) from error
    if pool.vocabulary(setting.rank) is not None or not np.issubdtype(scores.dtype, np.number):
        message = f"the board ranks duplicates by {setting.rank!r}, which is not a column of numbers"
        raise PlatformFault.of(
            "column-type", message, where=setting.rank, hint="name a score in the board's dedup.rank"
        )

    features = over_pool.gather(pool, setting.feature, rows, path, in_rows(report))
    return Candidates(np.asarray(pool.uids)[rows], features, scores)


def decide(candidates: Candidates, setting: DedupSetting, workspace: Path, report: Reporter) -> Decision:
    """Run the engine, with progress."""
    report.check()
    decision = deduplicate(
        candidates.features,
        candidates.uids,
        candidates.scores,
        threshold=setting.threshold,
        keep=setting.keep,
        scratch=workspace,
        report=in_rows(report),
    )
    report.check()
    return decision


def _result(decision: Decision, setting: DedupSetting, keep: npt.NDArray[np.bool_]) -> DedupResult:
    low, high = decision.recall.interval()
    removable = int(keep.size - keep.sum())
    return DedupResult(
        mode=setting.mode,
        threshold=setting.threshold,
        rows_in=keep.size,
        removable=removable,
        rows_kept=keep.size - removable if setting.mode is DedupMode.APPLY else keep.size,
        recall=decision.recall.rate,
        recall_low=low,
        recall_high=high,
        cells_digest=decision.cells_digest,
        without_features=decision.without_features,
    )


def describe(result: DedupResult, setting: DedupSetting, candidates: Candidates, decision: Decision) -> dict[str, Any]:
    """The report: figures, and the first removed samples with the kept one nearest to each."""
    return {
        **result.model_dump(mode="json"),
        "feature": setting.feature,
        "keep": setting.keep,
        "rank": setting.rank,
        "samples": len(candidates.uids),
        "samples_removable": int(decision.removed.sum()),
        "samples_identical": decision.identical,
        "cells": decision.cells.count,
        "recall_sample": decision.recall.sampled,
        "examples": _examples(candidates, decision),
    }


def _examples(candidates: Candidates, decision: Decision) -> list[dict[str, Any]]:
    in_order = order(candidates.uids)
    gone = in_order[decision.removed[in_order]][:EXAMPLES]
    if not gone.size:
        return []
    queries = _unit(candidates.features[gone])
    best, cosine = np.zeros(gone.size, np.int64), np.full(gone.size, -np.inf, np.float32)
    kept = np.flatnonzero(~decision.removed)
    for start in range(0, kept.size, BLOCK):
        rows = kept[start : start + BLOCK]
        cosines = queries @ _unit(candidates.features[rows]).T
        at = cosines.argmax(axis=1)
        found = cosines[np.arange(gone.size), at]
        better = found > cosine
        best[better], cosine[better] = rows[at[better]], found[better]
    columns = zip(to_hex(candidates.uids[gone]), to_hex(candidates.uids[best]), cosine.tolist(), strict=True)
    return [{"removed": uid, "nearest_kept": other, "cosine": round(value, 6)} for uid, other, value in columns]


def _unit(rows: npt.NDArray[np.float16]) -> npt.NDArray[np.float32]:
    """Unit rows; zeros where a row is no usable feature."""
    wide = np.nan_to_num(rows.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0)
    return unit
