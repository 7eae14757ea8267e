"""What a selection keeps, as the message that receipts and previews carry."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.commands.preview import BINS, Bins, Histogram, histograms, languages, sides, words
from datacomp.messages import Binned, Kept
from datacomp.pool import Pool
from datacomp.uids import find, from_hex, sort, to_hex

EXAMPLES = 12
"""Uids that are drawn of the rows kept, and of those dropped."""
TRIES = 4096
"""Rows that are drawn before all of them are looked at."""


def kept_of(
    pool: Pool,
    counts: npt.NDArray[Any],
    *,
    nan_scores: int = 0,
    examples: int = EXAMPLES,
    without: Collection[str] = (),
) -> Kept:
    """Look at a selection. `counts` says how often each row is taken: shape (rows,), bool or integers. The uids
    `without` are never an example. About 0.5 s for 10 million rows."""
    bools = counts.dtype == np.bool_
    return Kept(
        rows_in=pool.rows,
        rows_kept=int(np.count_nonzero(counts) if bools else counts.sum(dtype=np.int64)),
        unique=int(np.count_nonzero(counts)),
        nan_scores=nan_scores,
        binned=binned_of(pool, counts),
        kept_uids=drawn(pool, counts, examples, without, kept=True),
        dropped_uids=drawn(pool, counts, examples, without, kept=False),
    )


def counts_of(pool: Pool, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """How often each row of the pool is among `rows`; -1 is none. Bool where none is twice, else int32."""
    there = rows[rows >= 0]
    taken = np.zeros(pool.rows, np.bool_)
    taken[there] = True
    if np.count_nonzero(taken) == there.size:
        return taken
    return np.bincount(there, minlength=pool.rows).astype(np.int32)


def drawn(pool: Pool, counts: npt.NDArray[Any], n: int, without: Collection[str], *, kept: bool) -> list[str]:
    """Uids of a few rows that are kept (or not), the same for the same selection; of those with an image where there
    are some. The uids `without` are never among them."""
    if not pool.rows or not n:
        return []
    random = np.random.default_rng(int(kept))
    tars = pool.column("tar")
    tries = random.choice(pool.rows, min(TRIES, pool.rows), replace=False, shuffle=True)
    fits = ((counts[tries] > 0) == kept) & (np.asarray(tars[tries]) >= 0)
    rows = tries[fits]
    if rows.size < n and pool.rows > TRIES:
        every = np.flatnonzero((counts > 0) == kept)
        every = every[np.asarray(tars[every]) >= 0]
        rows = random.choice(every, min(4 * n, every.size), replace=False)
    if not rows.size:
        rows = tries[(counts[tries] > 0) == kept]
    uids = np.asarray(pool.uids[rows])
    if without:
        uids = uids[find(uids, sort(from_hex(sorted(without)))) < 0]
    return list(to_hex(uids[:n]))


def binned_of(pool: Pool, counts: npt.NDArray[Any]) -> list[Binned]:
    """Languages, sizes, words and score histograms of a selection, where the pool has the columns."""
    found = [_languages(languages(pool, counts, most=1 << 16))] if pool.vocabulary("lang") is not None else []
    found += [_scores(each) for each in histograms(pool, counts)]
    return [*found, _bins(sides(pool, counts)), _bins(words(pool, counts))]


def _languages(found: tuple[tuple[str, int, int], ...], most: int = 8) -> Binned:
    """The most frequent, and all others together."""
    shown, rest = list(found[:most]), found[most:]
    if any(rows for _, _, rows in rest):
        shown.append(("other", sum(kept for _, kept, _ in rest), sum(rows for _, _, rows in rest)))
    shown = [(code or "none", kept, rows) for code, kept, rows in shown if rows]
    return Binned(
        name="language",
        bins=[code for code, _, _ in shown],
        kept=[kept for _, kept, _ in shown],
        pool=[rows for _, _, rows in shown],
    )


def _scores(found: Histogram) -> Binned:
    step = (found.high - found.low) / BINS
    begins = [f"{found.low + step * place:.3f}" for place in range(BINS)]
    return Binned(name=found.column, bins=begins, kept=list(found.kept), pool=list(found.pool))


def _bins(found: Bins) -> Binned:
    return Binned(name=found.name, bins=list(found.labels), kept=list(found.kept), pool=list(found.pool))
