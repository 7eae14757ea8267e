"""The functions of selection rules. Packages add to them by the entry-point group `datacomp.functions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datacomp import plugins
from datacomp.filtering.threshold import kth_largest
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import halves

GROUP = "datacomp.functions"
MOST_COPIES = 10
"""Rows of a subset per row of the pool: repeat counts may not ask for more memory than there is."""
EVAL_SIMILARITY = "eval_similarity"
"""Column with each row's cosine to the nearest evaluation image; rows below its floor all have the number just below
that."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""


class Rowwise(Protocol):
    """What a function gives: an array of shape (rows,), or what makes its parts when they are asked for."""

    def __getitem__(self, rows: slice, /) -> npt.NDArray[Any]:
        """The values of some rows."""


@dataclass(frozen=True)
class AtLeast:
    """Which values reach a threshold: told window by window, so that nothing of the pool's size is made."""

    values: npt.NDArray[Any]
    threshold: Any
    """NaN: whatever is a value."""

    def __getitem__(self, rows: slice) -> npt.NDArray[np.bool_]:
        """Which values of these rows."""
        window = self.values[rows]
        return np.asarray(~np.isnan(window) if np.isnan(self.threshold) else window >= self.threshold)


@dataclass(frozen=True)
class Parameter:
    """An argument of a function."""

    name: str
    kind: str
    """`column` (numbers), `key` (numbers or few texts), `condition`, `number`, `whole` or `word`."""
    needed: bool = True


@dataclass(frozen=True)
class Function:
    """What rules may call: gets the pool and the arguments that were given, by name."""

    parameters: tuple[Parameter, ...]
    load: Callable[[], Callable[..., Rowwise]]
    """Gives the function itself; whatever it imports is imported here, when a rule calls it."""
    any_order: bool = False
    """Whether it reads no more of the pool than its arguments and uids, so that rows may stand in another order."""

    def usage(self, name: str) -> str:
        """How it is written."""
        return f"{name}({', '.join(p.name if p.needed else f'{p.name}=...' for p in self.parameters)})"


def function_of(name: str) -> Function | None:
    """The function of that name, if there is one; those of other packages never stand before ours."""
    return FUNCTIONS[name] if name in FUNCTIONS else plugins.load(GROUP, name)


def function_names() -> tuple[str, ...]:
    """Names of all functions, in order."""
    return tuple(sorted({*FUNCTIONS, *plugins.names(GROUP)}))


def top_fraction(pool: Pool, column: npt.NDArray[Any], fraction: float) -> AtLeast:
    """The original's top fraction: n + 1 rows and all ties; NaN counts among all rows but is never kept."""
    _require_fraction(fraction)
    n = int(column.size * fraction)
    return AtLeast(column, kth_largest(column, n) if n < column.size else np.nan)


def top_exact(pool: Pool, column: npt.NDArray[Any], fraction: float) -> npt.NDArray[np.bool_]:
    """Exactly int(N f) rows, the highest; ties are broken by the smaller uid. NaN is never kept."""
    _require_fraction(fraction)
    by_uid = np.asarray(pool.uid_order)
    ranked = by_uid[np.argsort(-column[by_uid], kind="stable")]
    kept = np.zeros(column.size, np.bool_)
    kept[ranked[: int(column.size * fraction)]] = True
    return np.asarray(kept & ~np.isnan(column))


def percentile(pool: Pool, column: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Share of all rows whose value is at most this row's, 0 to 1; NaN stays NaN."""
    ordered = np.sort(column)
    rank = np.searchsorted(ordered, column, "right") / max(column.size, 1)
    return np.where(np.isnan(column), np.nan, rank)


def cap(
    pool: Pool,
    column: npt.NDArray[Any],
    n: int,
    rank: npt.NDArray[Any] | None = None,
    where: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.bool_]:
    """At most n rows of each value of `column` among the rows `where`: those of the highest rank, ties to the smaller
    uid (without a rank, the smallest uids). NaN as value or rank is never kept."""
    rows = np.asarray(pool.uid_order)
    allowed = ~np.isnan(column) if column.dtype.kind == "f" else np.ones(pool.rows, np.bool_)
    if rank is not None:
        allowed &= ~np.isnan(rank)
    if where is not None:
        allowed &= where
    rows = rows[allowed[rows]]
    if rank is not None:
        rows = rows[np.argsort(-rank[rows].astype(np.float64), kind="stable")]
    rows = rows[np.argsort(column[rows], kind="stable")]
    values = column[rows]
    begins = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])) if rows.size else np.empty(0, np.int64)
    place = np.arange(rows.size) - np.repeat(begins, np.diff(begins, append=rows.size))
    kept = np.zeros(pool.rows, np.bool_)
    kept[rows[place < n]] = True
    return kept


def sample(
    pool: Pool,
    weights: npt.NDArray[Any],
    n: int,
    seed: int = 0,
    where: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int32]:
    """Exactly n rows, repeats counted, each on average n w / sum(w) times: systematic sampling (Madow 1949) along the
    hashes of uid and seed, so that the draw does not depend on the order of rows. NaN weighs nothing."""
    weight = np.nan_to_num(weights.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf)
    if where is not None:
        weight = np.where(where, weight, 0.0)
    if (weight < 0).any() or not np.isfinite(weight).all():
        raise BadInput.of("sample-weights", "a weight is negative or infinite")
    if n > MOST_COPIES * pool.rows:
        raise BadInput.of("sample-too-large", f"{n:,} rows are more than {MOST_COPIES} times the pool's {pool.rows:,}")
    by_uid = np.asarray(pool.uid_order)
    hashes = uid_hashes(pool, seed)
    order = by_uid[np.argsort(hashes[by_uid], kind="stable")]
    reached = np.cumsum(weight[order])
    if n and (not reached.size or reached[-1] <= 0):
        raise BadInput.of("sample-weights", "no row has a weight above 0")
    if not n:
        return np.zeros(pool.rows, np.int32)
    start = float(mix(np.array([seed], np.uint64))[0]) * 2.0**-64
    drawn = np.clip(np.floor(reached / reached[-1] * n + start), 0, n).astype(np.int64)
    drawn[reached >= reached[-1]] = n
    counts = np.zeros(pool.rows, np.int32)
    counts[order] = np.diff(drawn, prepend=0)
    return counts


def uid_hashes(pool: Pool, seed: int) -> npt.NDArray[np.uint64]:
    """A number for every row that looks random and depends on its uid and the seed alone."""
    high, low = halves(pool.uids).T
    return mix(high ^ mix(low ^ mix(np.array([seed], np.uint64))[0]))


def mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64's finaliser."""
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed


def near(pool: Pool, what: str, threshold: float = 0.95) -> npt.NDArray[np.bool_]:
    """Rows whose image is near an evaluation image: cosine at least `threshold`. NaN (no feature) is not near."""
    if what != "eval":
        raise BadInput.of("near-unknown", f"nothing is known of what is near {what!r}", hint="write near(eval, 0.95)")
    if EVAL_SIMILARITY not in pool.names:
        hint = f"add it: datacomp pool near {pool.directory} --features EVAL.npz"
        raise BadInput.of("column-unknown", f"the pool has no column {EVAL_SIMILARITY!r}", hint=hint)
    column = np.asarray(pool.column(EVAL_SIMILARITY))
    least = np.fmin.reduce(column, initial=np.inf)
    if threshold <= least and np.count_nonzero(column == least) > 1:  # all that lie below the floor read the same
        hint = f"ask for more, or tell it from lower on: datacomp pool near {pool.directory} --floor {threshold:g} ..."
        raise BadInput.of("near-floor", f"the pool tells nearness above {least:.4g} only", hint=hint)
    return np.asarray(column >= np.float32(threshold))


def _require_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise BadInput.of("fraction-range", f"a fraction lies between 0 and 1, not at {fraction:g}")


_FRACTION = (Parameter("column", "column"), Parameter("fraction", "number"))
_WHERE = Parameter("where", "condition", needed=False)
FUNCTIONS: dict[str, Function] = {
    "top_fraction": Function(_FRACTION, lambda: top_fraction, any_order=True),
    "top_exact": Function(_FRACTION, lambda: top_exact, any_order=True),
    "percentile": Function((Parameter("column", "column"),), lambda: percentile, any_order=True),
    "cap": Function(
        (Parameter("column", "key"), Parameter("n", "whole"), Parameter("rank", "column", needed=False), _WHERE),
        lambda: cap,
        any_order=True,
    ),
    "sample": Function(
        (Parameter("weights", "column"), Parameter("n", "whole"), Parameter("seed", "whole", needed=False), _WHERE),
        lambda: sample,
        any_order=True,
    ),
    "near": Function((Parameter("what", "word"), Parameter("threshold", "number", needed=False)), lambda: near),
}
