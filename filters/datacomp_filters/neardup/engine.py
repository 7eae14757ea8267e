"""Near-duplicate removal from end to end: identical rows, cells, comparison, keep rule, measured recall."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp import uids as u
from datacomp_filters.neardup import cells as c
from datacomp_filters.neardup.compare import Comparer
from datacomp_filters.neardup.keep import RULES, Search
from datacomp_filters.neardup.progress import Report, counter, silent
from datacomp_filters.neardup.recall import Recall, measure
from datacomp_filters.neardup.rows import Bools, Half, Indices, Rows, identical_groups
from datacomp_filters.neardup.sketch import Sketches
from datacomp_filters.neardup.spread import one_thread_each

RECALL_SAMPLE = 2000


@dataclass(frozen=True)
class Decision:
    """Which rows stay, and how sure that is."""

    removed: Bools
    """Shape (n,), aligned with the rows given."""
    identical: int
    """Of the removed rows those whose feature equals another's byte for byte."""
    without_features: int
    """Rows with no usable feature (all zero, NaN, infinite): kept."""
    cells: c.Cells
    cells_digest: str
    recall: Recall
    """On rows that differ from all others."""


@one_thread_each()
def deduplicate(
    features: Half,
    uids: u.Uids,
    scores: npt.NDArray[np.floating],
    *,
    threshold: float,
    keep: str = "greedy",
    cells: c.Cells | None = None,
    sample: int = RECALL_SAMPLE,
    scratch: Path | None = None,
    report: Report = silent,
) -> Decision:
    """Decide which of n rows are near-duplicates (cosine >= threshold) of a better-ranked one.

    features: (n, d) float16, may be a memory map; uids: (n,), no repeats; scores: (n,), higher is better, NaN worst,
    ties to the smaller uid. `keep` names a rule of `keep.RULES` (ValueError for another). `cells` takes earlier cells
    instead of training new ones. `scratch`, a directory, takes what else may not fit in memory. `report` hears of
    rows, kind of work by kind of work. The decision depends neither on the order of rows nor on the number of
    threads, nor on the processor, given the cells.
    """
    if keep not in RULES:
        raise ValueError(f"no keep rule {keep!r}; there are {', '.join(RULES)}")
    rows = Rows.of(features, counter(report, "measuring rows", len(features)))
    uid_order = u.order(uids)
    order = _ranking(scores, uid_order)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    first = identical_groups(features, rank, rows.usable)
    alone = rows.usable & (first == np.arange(len(first)))
    by_uid = uid_order[alone[uid_order]]
    sketches = Sketches.of(rows, scratch, counter(report, "sketching", len(features)))
    found = cells or c.build(sketches, by_uid, threshold, counter(report, "finding cells", len(by_uid)))
    comparer = Comparer(rows, sketches, threshold)
    ranked = order[alone[order]]
    gone = RULES[keep](Search(comparer, found, counter(report, "comparing", len(ranked))), ranked)
    removed = first != np.arange(len(first))
    identical = int(removed.sum())
    removed[ranked[gone]] = True
    witnesses = keep == "semdedup"
    recall = measure(comparer, ranked, gone, by_uid, sample=sample, any_witness=witnesses, report=report)
    usable = int(rows.usable.sum())
    return Decision(removed, identical, len(removed) - usable, found, found.digest(uid_order), recall)


def _ranking(scores: npt.NDArray[np.floating], uid_order: Indices) -> Indices:
    """Rows from best to worst."""
    in_uid_order = np.asarray(scores, np.float64)[uid_order]
    return uid_order[np.lexsort((-np.nan_to_num(in_uid_order), np.isnan(in_uid_order)))]
