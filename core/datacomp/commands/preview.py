"""What a selection keeps, in figures: for `datacomp filter --dry-run`, receipts, and previews on the site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering.selection import Selection
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import find, read_subset

MOST_LANGUAGES = 8
BINS = 20
SCORES = ("clip_b32_similarity_score", "clip_l14_similarity_score")
BARS = " ▁▂▃▄▅▆▇█"
SIDES = (0, 64, 128, 200, 400, 800)
"""Pixels at which the bins of the shorter side begin."""
WORDS = (0, 1, 2, 3, 6, 11, 21, 51)
"""Words of a caption at which bins begin."""


@dataclass(frozen=True)
class Histogram:
    """A score of the rows kept, beside all rows: `BINS` equal bins from `low` to `high`."""

    column: str
    low: float
    high: float
    kept: tuple[int, ...]
    """Repeats counted."""
    pool: tuple[int, ...]

    def line(self) -> str:
        """The bins as bars, each row of bars to its own height."""
        return f"{self.column}  {self.low:.3f} |{_bars(self.kept)}| {self.high:.3f}   all rows |{_bars(self.pool)}|"


@dataclass(frozen=True)
class Bins:
    """Whole numbers of the rows kept, beside all rows, in fixed bins."""

    name: str
    labels: tuple[str, ...]
    kept: tuple[int, ...]
    """Repeats counted."""
    pool: tuple[int, ...]

    def line(self) -> str:
        """The bins that have rows, in words."""
        every = zip(self.labels, self.kept, self.pool, strict=True)
        return f"{self.name:<11} " + ", ".join(f"{label}: {kept:,} of {rows:,}" for label, kept, rows in every if rows)


@dataclass(frozen=True)
class Preview:
    """What a selection amounts to."""

    rows_in: int
    rows_kept: int
    """Repeats counted."""
    unique: int
    nan_scores: int
    languages: tuple[tuple[str, int, int], ...]
    """The most frequent: code, rows kept, rows of the pool. Empty for a pool without languages."""
    histograms: tuple[Histogram, ...]
    sides: Bins
    """Pixels of the shorter side of the original images."""
    words: Bins
    """Words per caption."""
    overlap: tuple[int, int] | None
    """Different uids of the other subset that the pool has, and those of them that are kept."""

    def lines(self) -> list[str]:
        """The figures as text."""
        share = self.rows_kept / self.rows_in if self.rows_in else 0.0
        lines = [f"would keep  {self.rows_kept:,} of {self.rows_in:,} rows ({share:.2%}), {self.unique:,} different"]
        if self.nan_scores:
            lines.append(f"no score    {self.nan_scores:,} rows (NaN), not kept")
        if self.languages:
            lines.append("languages   " + ", ".join(f"{c or 'none'} {k:,} of {n:,}" for c, k, n in self.languages))
        lines += [histogram.line() for histogram in self.histograms]
        lines += [self.sides.line(), self.words.line()]
        if self.overlap is not None:
            other, both = self.overlap
            union = other + self.unique - both
            lines.append(
                f"overlap     {both:,} of the other's {other:,} uids; Jaccard {both / union if union else 1:.4f}"
            )
        return lines


def preview(pool: Pool, selection: Selection, compare: Path | None = None) -> Preview:
    """Look at a selection. `compare` is another subset (npy); `BadInput` when it is unreadable."""
    counts = selection.counts
    unique = int(np.count_nonzero(counts))
    return Preview(
        rows_in=pool.rows,
        rows_kept=selection.kept,
        unique=unique,
        nan_scores=selection.nan_scores,
        languages=languages(pool, counts),
        histograms=histograms(pool, counts),
        sides=sides(pool, counts),
        words=words(pool, counts),
        overlap=_overlap(pool, counts, compare) if compare is not None else None,
    )


def languages(pool: Pool, counts: npt.NDArray[Any], most: int = MOST_LANGUAGES) -> tuple[tuple[str, int, int], ...]:
    """The most frequent languages: code, rows kept (repeats counted), rows of the pool. `counts` has shape (rows,)."""
    words = pool.vocabulary("lang")
    if words is None:
        return ()
    names = (*words, "")
    both = np.zeros((2, len(names)), np.int64)
    column = pool.column("lang")
    for block in pool.blocks():
        codes = column[block].astype(np.int64)
        both += _counted(np.where(codes < 0, len(words), codes), counts[block], len(names))
    first = np.argsort(-both[1], kind="stable")[:most]
    return tuple((names[i], int(both[0, i]), int(both[1, i])) for i in first)


def histograms(pool: Pool, counts: npt.NDArray[Any]) -> tuple[Histogram, ...]:
    """Of every CLIP score that the pool has."""
    return tuple(_histogram(pool, name, counts) for name in SCORES if pool.manifest.column(name) is not None)


def sides(pool: Pool, counts: npt.NDArray[Any]) -> Bins:
    """The shorter side of the original images, in pixels."""
    width, height = pool.column("original_width"), pool.column("original_height")
    return _binned(pool, "side", SIDES, lambda rows: np.minimum(width[rows], height[rows]), counts)


def words(pool: Pool, counts: npt.NDArray[Any]) -> Bins:
    """Words per caption."""
    column = pool.column("words")
    return _binned(pool, "words", WORDS, lambda rows: column[rows], counts)


def _binned(
    pool: Pool,
    name: str,
    begins: tuple[int, ...],
    values: Callable[[slice], npt.NDArray[Any]],
    counts: npt.NDArray[Any],
) -> Bins:
    both = np.zeros((2, len(begins)), np.int64)
    for block in pool.blocks():
        found = values(block)
        place = np.zeros(found.size, np.int8)
        for begin in begins[1:]:
            place += found >= begin
        both += _counted(place.astype(np.int64), counts[block], len(begins))
    return Bins(name, _labels(begins), tuple(both[0].tolist()), tuple(both[1].tolist()))


def _labels(begins: tuple[int, ...]) -> tuple[str, ...]:
    ends = [begin - 1 for begin in begins[1:]]
    labels = [str(a) if a == b else f"{a}–{b}" if a else f"below {b + 1}" for a, b in zip(begins, ends, strict=False)]
    return (*labels, f"{begins[-1]} and more")


def _histogram(pool: Pool, name: str, counts: npt.NDArray[Any]) -> Histogram:
    column = pool.column(name)
    low, high = _range(pool, column)
    scale = BINS / (high - low) if high > low else 0.0
    both = np.zeros((2, BINS), np.int64)
    for block in pool.blocks():
        values, taken = column[block], counts[block]
        finite = np.isfinite(values)
        if not finite.all():
            values, taken = values[finite], taken[finite]
        bins = ((values - low) * scale).astype(np.int64)
        both += _counted(np.minimum(bins, BINS - 1, out=bins), taken, BINS)
    return Histogram(name, low, high, tuple(both[0].tolist()), tuple(both[1].tolist()))


def _range(pool: Pool, column: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for block in pool.blocks():
        values = column[block]
        finite = values[np.isfinite(values)]
        if finite.size:
            low, high = min(low, float(finite.min())), max(high, float(finite.max()))
    return (low, high) if low <= high else (0.0, 0.0)


def _counted(bins: npt.NDArray[np.int64], counts: npt.NDArray[Any], size: int) -> npt.NDArray[np.int64]:
    """Rows kept and rows in all of each bin, shape (2, size)."""
    if counts.dtype == np.bool_:  # in one pass: bins of rows that are kept lie `size` higher
        dropped, kept = np.bincount(bins + counts * np.int64(size), minlength=2 * size).reshape(2, size)
        return np.stack([kept, dropped + kept])
    every = np.bincount(bins, minlength=size)
    return np.stack([np.bincount(bins, weights=counts, minlength=size).astype(np.int64), every])


def _overlap(pool: Pool, counts: npt.NDArray[Any], compare: Path) -> tuple[int, int]:
    places = find(read_subset(compare), pool.sorted_uids)  # in the order of uids
    there = np.zeros(pool.rows, np.bool_)
    there[places[places >= 0]] = True
    if not there.any():
        hint = "both subsets must be of the same pool"
        raise BadInput.of("subset-foreign", "the pool has none of its uids", where=str(compare), hint=hint)
    kept = (counts > 0).take(pool.uid_order)
    return int(np.count_nonzero(there)), int(np.count_nonzero(there & kept))


def _bars(counts: tuple[int, ...]) -> str:
    most = max(counts, default=0) or 1
    return "".join(BARS[-(-count * (len(BARS) - 1) // most)] for count in counts)
