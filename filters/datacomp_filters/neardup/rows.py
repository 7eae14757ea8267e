"""Feature rows as near-duplicate search compares them.

All decisions rest on cosines whose products are summed in float64. A product of two float16 numbers is a multiple of
2**-48; while sums stay below 2**5 they are exact in float64, so they do not depend on order, threads or processor.
Rows of unit length are far below; longer ones are scaled down by a power of two first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp_filters.neardup.progress import Tick, unheard
from datacomp_filters.neardup.spread import spread

BLOCK = 2048
LONGEST = 16.0
"""Squared length up to which a row is taken as it is."""

Half = npt.NDArray[np.float16]
Bools = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """Features of n samples, shape (n, d), with what the search needs to know of each row."""

    features: Half
    """May be a memory map; read in blocks."""
    squares: npt.NDArray[np.float64]
    """Exact squared length of each row after scaling; 0 for rows without a usable feature (zero, NaN or infinite)."""
    scales: npt.NDArray[np.int8]
    """Powers of two that rows are multiplied with; 0 for nearly all."""

    @classmethod
    def of(cls, features: Half, tick: Tick = unheard) -> Rows:
        """Measure `features`, shape (n, d); ValueError for another dtype or shape. `tick` hears of rows."""
        if features.ndim != 2 or features.dtype != np.float16:
            raise ValueError(f"features are a float16 matrix, not {features.dtype} of shape {features.shape}")
        squares = np.zeros(len(features))
        scales = np.zeros(len(features), np.int8)

        def measure(start: int) -> int:
            part = slice(start, start + BLOCK)
            block = np.asarray(features[part])
            squares[part], scales[part] = _measure(block)
            return len(block)

        for done in spread(measure, range(0, len(features), BLOCK)):
            tick(done)
        return cls(features, squares, scales)

    @property
    def usable(self) -> Bools:
        """Which rows have a feature."""
        return self.squares > 0

    def exact(self, index: Indices) -> npt.NDArray[np.float64]:
        """Rows in float64, scaled so that sums of their products are exact. Shape (len(index), d)."""
        return _scaled(np.asarray(self.features[index]), self.scales[index]).astype(np.float64)

    def unit(self, index: Indices) -> npt.NDArray[np.float32]:
        """Rows of unit length in float32, for finding candidates. Rows without a feature are not to be asked for."""
        rows = np.asarray(self.features[index])
        scales = self.scales[index]
        wide = (_scaled(rows, scales) if scales.any() else rows).astype(np.float32)
        wide *= (1 / np.sqrt(self.squares[index])).astype(np.float32)[:, None]
        return wide


def _measure(block: Half) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int8]]:
    with np.errstate(invalid="ignore", over="ignore"):
        finite: Bools = np.asarray(np.isfinite(block).all(axis=1))
        safe = np.where(finite[:, None], block, np.float16(0))
    squares = _squares(safe)
    scales = np.zeros(len(block), np.int8)
    # Above the limit the sum may not be exact, yet it cannot fall below the limit: the choice itself is exact.
    long: Bools = np.greater(squares, LONGEST)
    if long.any():
        _, exponents = np.frexp(np.abs(safe[long]).max(axis=1).astype(np.float64))
        scales[long] = (-4 - exponents).astype(np.int8)
        squares[long] = _squares(_scaled(safe[long], scales[long]))
    return squares, scales


def _squares(block: Half) -> npt.NDArray[np.float64]:
    wide = block.astype(np.float64)
    return np.asarray(np.einsum("ij,ij->i", wide, wide))


def _scaled(block: Half, scales: npt.NDArray[np.int8]) -> Half:
    if not scales.any():
        return block
    return np.ldexp(block.astype(np.float64), scales.astype(np.int32)[:, None]).astype(np.float16)


def identical_groups(features: Half, rank: Indices, usable: Bools) -> Indices:
    """For each row the best-ranked row with the same feature bytes (itself for rows that differ from all others).

    `rank` gives each row's place, 0 the best. Rows that are not usable stand alone.
    """
    first = np.arange(len(features))
    hashes = _row_hashes(features)
    candidates = np.flatnonzero(usable)
    order = candidates[np.lexsort((rank[candidates], hashes[candidates]))]
    same = hashes[order][1:] == hashes[order][:-1]
    for run in np.split(order, np.flatnonzero(~same) + 1) if same.any() else ():
        if len(run) > 1:
            _group_run(features, run, first)
    return first


def _group_run(features: Half, run: Indices, first: Indices) -> None:
    """Group rows of equal hash, given in rank order, by their bytes."""
    best: dict[bytes, int] = {}
    for row in run:
        first[row] = best.setdefault(np.asarray(features[row]).tobytes(), int(row))


def _row_hashes(features: Any) -> npt.NDArray[np.uint64]:
    """A 64-bit hash of each row's bytes: equal rows agree; unequal ones are told apart by their bytes afterwards."""
    width = features.shape[1]
    odd = np.random.default_rng(20_230_427).integers(1, 1 << 63, width, np.uint64) | np.uint64(1)
    hashes = np.empty(len(features), np.uint64)

    def fill(start: int) -> None:
        words = np.ascontiguousarray(features[start : start + BLOCK]).view(np.uint16).astype(np.uint64)
        hashes[start : start + BLOCK] = (words * odd).sum(axis=1, dtype=np.uint64)

    for _ in spread(fill, range(0, len(features), BLOCK)):
        pass
    return hashes
