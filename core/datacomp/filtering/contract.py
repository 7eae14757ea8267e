"""What a filter is: a class that reads named columns and scores rows. Participants copy `datacomp_filters.template`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput

if TYPE_CHECKING:
    from datacomp.pool import Pool

ScoreArray = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Batch:
    """Consecutive rows of the pool, with just the columns and features that the filter named.

    `batch["original_width"]` is a NumPy array of shape (rows,); texts (`text`, `url`) are Arrow arrays, whose
    `.to_pylist()` gives strings; `batch["lang"]` is a NumPy array of strings; a feature such as `batch["l14_img"]` is a
    float16 array of shape (rows, width).
    """

    rows: int
    values: Mapping[str, Any]

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, name: str) -> Any:
        if name not in self.values:
            known = ", ".join(sorted(self.values)) or "nothing"
            hint = f"it names {known}; add {name!r} to `columns` or `features`"
            raise BadInput.of("filter-undeclared", f"the filter reads {name!r} without naming it", hint=hint)
        return self.values[name]


@dataclass(frozen=True)
class ColumnStats:
    """Figures of one numeric column over the whole pool, NaN left out."""

    count: int
    minimum: float
    maximum: float
    mean: float
    deviation: float


class Filter:
    """Base of all filters. Subclass it, name what you read, and give every row a score.

    A score is a float (then `rule` says which scores are kept), a bool (kept or not) or an integer (how often the row
    is taken; 0 drops it). `score` must be pure: a row's score may not depend on the rows around it, nor on chance. A
    method that needs the whole pool at once overrides `select` instead.
    """

    columns: tuple[str, ...] = ()
    """Columns to load; `datacomp pool info DIR` lists them."""
    features: tuple[str, ...] = ()
    """Feature arrays to load, for instance `l14_img`."""
    rule: str = "score"
    """Which rows are kept: an expression over `score`, for instance `top_fraction(score, 0.3)` or `score >= 0.28`."""
    any_order: bool = False
    """Whether `select` reads nothing but `columns` and does not care in which order the rows are; quicker then."""

    def prepare(self, stats: Mapping[str, ColumnStats]) -> None:
        """Called once before scoring with figures of every numeric column named in `columns`. Optional."""

    def score(self, batch: Batch) -> Any:
        """One float, bool or integer per row of the batch: anything that makes an array of shape (rows,)."""
        raise BadInput.of(
            "filter-incomplete",
            f"{type(self).__name__} has neither `score` nor `select`",
            hint="define score(self, batch)",
        )

    def select(self, pool: Pool) -> Any:
        """As `score`, for the whole pool at once: shape (pool.rows,). Overriding it replaces `score`."""
        hint = "override select(self, pool) for a whole-pool method, or score(self, batch) for one row at a time"
        raise BadInput.of("filter-incomplete", f"{type(self).__name__} selects nothing by itself", hint=hint)


def is_whole_pool(filter_: Filter) -> bool:
    """Whether the filter overrides `select`."""
    return type(filter_).select is not Filter.select


def as_scores(value: Any, rows: int, where: str) -> ScoreArray:
    """A filter's answer as bool, int32, float32 or float64, shape (rows,); never rounded. `BadInput` when it is not."""
    if hasattr(value, "to_numpy") and not isinstance(value, np.ndarray):
        value = value.to_numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise BadInput.of("filter-score-type", f"the scores are not an array: {error}", where=where) from error
    if array.shape != (rows,):
        hint = "return one value per row of the batch"
        raise BadInput.of(
            "filter-score-shape", f"the scores have shape {array.shape}, expected ({rows},)", where=where, hint=hint
        )
    if array.dtype == np.bool_ or array.dtype in (np.float32, np.float64):
        return array
    if array.dtype == np.float16:
        return array.astype(np.float32)
    if np.issubdtype(array.dtype, np.integer):
        if array.size and (array.min() < 0 or array.max() > np.iinfo(np.int32).max):
            raise BadInput.of("filter-count-range", "a repeat count is negative or beyond int32", where=where)
        return array.astype(np.int32)
    hint = "return float32 or float64 scores, bools, or integer repeat counts"
    raise BadInput.of("filter-score-type", f"the scores have type {array.dtype}", where=where, hint=hint)
