"""Running a filter over a pool, shard by shard, in batches that never span two shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.contract import Batch, ColumnStats, Filter, ScoreArray, as_scores, is_whole_pool
from datacomp.pool import Pool
from datacomp.pool.pool import Rows
from datacomp.problems import BadInput, Problem

BATCH = 16_384
OTHER_BATCH = 7_919
"""Batch size of the second run that a result may not depend on: prime, so that no boundary coincides."""
Report = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Scores:
    """One score per row of the pool, in pool order."""

    values: ScoreArray
    """bool, int32, float32 or float64."""


def require(filter_: Filter, pool: Pool) -> None:
    """`BadInput` names every column and feature that the filter reads and the pool lacks."""
    problems: list[Problem] = []
    for what, check in ((filter_.columns, pool.require_columns), (filter_.features, _features_check(pool))):
        try:
            check(what)
        except BadInput as error:
            problems += error.problems
    if problems:
        raise BadInput(*problems)


def _features_check(pool: Pool) -> Callable[[Any], None]:
    def check(names: tuple[str, ...]) -> None:
        for name in names:
            pool.require_feature(name)

    return check


def score_pool(filter_: Filter, pool: Pool, *, report: Report = silent, check: bool = True) -> Scores:
    """All scores of a pool. `check` runs one shard again with another batch size and compares."""
    return Scores(_joined(list(iter_scores(filter_, pool, report=report, check=check))))


def _joined(pieces: list[ScoreArray]) -> ScoreArray:
    kinds = {piece.dtype for piece in pieces}
    if len(kinds) > 1:
        message = f"some batches gave {' and others '.join(sorted(map(str, kinds)))}"
        raise BadInput.of("filter-score-mixed", message, hint="return the same type for every batch")
    if len(pieces) == 1:  # a whole-pool filter's: perhaps a mapped column
        return pieces[0]
    return np.concatenate(pieces) if pieces else np.empty(0, np.bool_)


def iter_scores(filter_: Filter, pool: Pool, *, report: Report = silent, check: bool = True) -> Iterator[ScoreArray]:
    """Scores in pool order, batch by batch (in one piece for a whole-pool filter)."""
    require(filter_, pool)
    report(0, pool.rows)
    if is_whole_pool(filter_):
        yield as_scores(filter_.select(pool), pool.rows, "select")
        report(pool.rows, pool.rows)
        return
    filter_.prepare(column_stats(filter_, pool))
    shards = pool.shard_rows()
    twice = int(np.random.default_rng().integers(len(shards))) if check and shards else -1
    for shard in shards:
        first = []
        for piece in _shard_scores(filter_, pool, shard, BATCH):
            first.append(piece)
            yield piece
            report(shard.start + sum(len(p) for p in first), pool.rows)
        if shard.shard == twice:
            _compare(shard, first, list(_shard_scores(filter_, pool, shard, OTHER_BATCH)))


def score_rows(filter_: Filter, pool: Pool, shard: Rows, *, check: bool) -> ScoreArray:
    """One shard's scores, by a filter that is prepared and scores batch by batch. `check` as in `score_pool`."""
    pieces = list(_shard_scores(filter_, pool, shard, BATCH))
    if check:
        _compare(shard, pieces, list(_shard_scores(filter_, pool, shard, OTHER_BATCH)))
    return _joined(pieces)


def _shard_scores(filter_: Filter, pool: Pool, shard: Rows, size: int) -> Iterator[ScoreArray]:
    reader = _ShardReader(filter_, pool, shard)
    for start in range(0, shard.stop - shard.start, size):
        stop = min(start + size, shard.stop - shard.start)
        where = f"shard {shard.name}, rows {start} to {stop - 1}"
        yield as_scores(filter_.score(reader.batch(start, stop)), stop - start, where)


def _compare(shard: Rows, first: list[ScoreArray], second: list[ScoreArray]) -> None:
    one, two = np.concatenate(first), np.concatenate(second)
    floating = one.dtype.kind == "f" and two.dtype.kind == "f"
    if one.dtype == two.dtype and np.array_equal(one, two, equal_nan=floating):
        return
    different = (one != two) & ~((one != one) & (two != two)) if floating else one != two  # noqa: PLR0124 - NaN
    row = int(np.flatnonzero(different)[0]) if different.any() else 0
    hint = "a row's score may depend on that row alone: use no random numbers, no state, no batch statistics"
    message = f"with another batch size the score of a row is {two[row]}, not {one[row]}"
    raise BadInput.of("filter-not-pure", message, where=f"shard {shard.name}, row {row}", hint=hint)


class _ShardReader:
    """One shard's columns, loaded once, cut into batches."""

    def __init__(self, filter_: Filter, pool: Pool, shard: Rows) -> None:
        self.columns = {name: _column(pool, shard, name) for name in filter_.columns}
        self.features = {name: pool.features(name, shard.shard) for name in filter_.features}

    def batch(self, start: int, stop: int) -> Batch:
        values: dict[str, Any] = {name: column[start:stop] for name, column in self.columns.items()}
        values |= {name: np.asarray(feature[start:stop]) for name, feature in self.features.items()}
        return Batch(stop - start, values)


def _column(pool: Pool, shard: Rows, name: str) -> Any:
    """NumPy for numbers and languages, Arrow for texts and lists."""
    if pool.manifest.column(name) is None:
        return _text(pool, shard, name)
    values = np.array(pool.column(name)[shard.start : shard.stop])
    words = pool.vocabulary(name)
    return np.array((*words, ""))[values] if words is not None else values


def _text(pool: Pool, shard: Rows, name: str) -> Any:
    import pyarrow as pa

    column = pool.metadata_column(name, shard.shard).combine_chunks()
    return column.fill_null("") if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) else column


def column_stats(filter_: Filter, pool: Pool) -> Mapping[str, ColumnStats]:
    """Figures of every numeric column that the filter names; nothing when it does not override `prepare`."""
    if type(filter_).prepare is Filter.prepare:
        return {}
    found = {}
    for name in filter_.columns:
        column = pool.manifest.column(name)
        if column is not None and column.vocabulary is None and np.dtype(column.dtype).kind in "fiu":
            found[name] = _stats(pool.column(name))
    return found


def _stats(values: npt.NDArray[Any]) -> ColumnStats:
    wide = np.asarray(values, np.float64)
    there = wide[~np.isnan(wide)]
    if not there.size:
        return ColumnStats(0, np.nan, np.nan, np.nan, np.nan)
    return ColumnStats(there.size, float(there.min()), float(there.max()), float(there.mean()), float(there.std()))
