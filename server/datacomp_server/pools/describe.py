"""What a pool contains, in figures."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.commands.kept import binned_of
from datacomp.filtering.functions import EVAL_SIMILARITY
from datacomp.messages import ClustersOut, Counted, PoolOut
from datacomp.pool import Pool
from datacomp_server.pools.library import Shelf

NEAR = 0.95
"""Cosine from which a row counts as near an evaluation image, as on receipts."""
BESIDE = frozenset({"image_hash", "text_hash", "uid"})
"""Columns that no expression has a use for."""


class Descriptions:
    """Descriptions of pools, worked out once each: some columns are sorted for them."""

    def __init__(self) -> None:
        self._kept: dict[str, PoolOut] = {}
        self._guard = threading.Lock()

    def of(self, name: str, shelf: Shelf) -> PoolOut:
        """Everything that is known of a pool but what was removed from it."""
        with self._guard:  # held while one is made: nobody else need make the same
            if shelf.digest not in self._kept:
                self._kept[shelf.digest] = describe(name, shelf)
            return self._kept[shelf.digest].model_copy(update={"name": name})


def describe(name: str, shelf: Shelf) -> PoolOut:
    """Look at all rows; some seconds for ten million."""
    pool = shelf.pool
    every = np.zeros(pool.rows, np.bool_)
    near = EVAL_SIMILARITY in pool.names
    return PoolOut(
        name=name,
        digest=shelf.digest,
        rows=pool.rows,
        here=True,
        with_image=int(np.count_nonzero(pool.column("tar") >= 0)),
        columns=sorted(column.name for column in pool.manifest.columns if column.name in pool.names - BESIDE),
        counted=[Counted(name=each.name, bins=each.bins, rows=each.pool) for each in binned_of(pool, every)],
        clusters=_clusters(pool),
        same_image=_repeats(pool, "image_hash"),
        same_caption=_repeats(pool, "text_hash"),
        near_evaluation=int(np.count_nonzero(_column(pool, EVAL_SIMILARITY) >= np.float32(NEAR))) if near else None,
        near_threshold=NEAR if near else None,
    )


def _column(pool: Pool, name: str) -> npt.NDArray[Any]:
    return np.asarray(pool.column(name))


def _repeats(pool: Pool, name: str) -> int | None:
    if pool.manifest.column(name) is None:
        return None
    ordered = np.sort(_column(pool, name))  # a second for ten million; np.unique, which hashes, takes half a minute
    return int(np.count_nonzero(ordered[1:] == ordered[:-1]))


def _clusters(pool: Pool) -> ClustersOut | None:
    if pool.manifest.column("cluster") is None:
        return None
    codes = _column(pool, "cluster")
    sizes = np.bincount(codes[codes >= 0])
    sizes = np.sort(sizes[sizes > 0])
    if not sizes.size:
        return None
    return ClustersOut(
        clusters=int(sizes.size), smallest=int(sizes[0]), median=int(sizes[sizes.size // 2]), largest=int(sizes[-1])
    )
