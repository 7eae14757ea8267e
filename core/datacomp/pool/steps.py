"""The different values of a score column, and how many rows have at most each: where a top fraction begins is read off.

Similarity scores are computed in float16, so that ten million of them are some ten thousand different numbers. A copy
of such a column (see `byuid`) has a table of them beside it; other columns have none, and only time depends on it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import PlatformFault

SPARE = 13
"""Bits that float32 has beyond float16's: 0 in every number that float16 holds."""
ROW = np.dtype([("value", "<f4"), ("rows", "<i8")])


class Counter:
    """Counts a column's values piece by piece, until it meets one with more bits than float16 has."""

    def __init__(self, dtype: np.dtype[Any]) -> None:
        self._counts = np.zeros(1 << (32 - SPARE), np.int64) if dtype == np.float32 else None

    def add(self, piece: npt.NDArray[Any]) -> None:
        """Count further rows."""
        if self._counts is not None:
            bits = piece.view(np.uint32)
            if np.bitwise_or.reduce(bits, initial=0) & ((1 << SPARE) - 1):
                self._counts = None
            else:
                self._counts += np.bincount(bits >> np.uint32(SPARE), minlength=self._counts.size)

    def table(self) -> npt.NDArray[Any] | None:
        """Shape (different values,), ascending, NaN left out, with the rows at or below each; None if there is none."""
        if self._counts is None:
            return None
        found = np.flatnonzero(self._counts)
        values = (found.astype(np.uint32) << np.uint32(SPARE)).view(np.float32)
        there = np.argsort(values, kind="stable")[: int(np.count_nonzero(~np.isnan(values)))]
        table = np.empty(there.size, ROW)
        table["value"], table["rows"] = values[there], np.cumsum(self._counts[found[there]])
        return table


def beside(copy: Path) -> Path:
    """Where the table of a copied column is."""
    return copy.with_suffix(".steps")


def kth_largest(values: npt.NDArray[Any], place: int) -> Any:
    """The value at `place` (from 0) of the descending order of a mapped copy, NaN last; None where no table tells."""
    path = _file_of(values)
    if path is None or not beside(path).is_file():
        return None
    table = np.fromfile(beside(path), ROW)
    counted = int(table["rows"][-1]) if table.size else 0
    if (
        beside(path).stat().st_size % ROW.itemsize
        or counted > values.size
        or (np.diff(table["rows"], prepend=0) <= 0).any()
    ):
        hint = "delete the directory by_uid of the pack, and run: datacomp pool ingest DIR"
        raise PlatformFault.of("pool-pack-damaged", "the table of a column's values is none", str(beside(path)), hint)
    if place >= counted:
        return np.float32(np.nan)
    return table["value"][np.searchsorted(table["rows"], counted - 1 - place, "right")]


def _file_of(values: npt.NDArray[Any]) -> Path | None:
    """The file that an array is a map of, all of it."""
    base: Any = values
    while isinstance(base, np.ndarray) and not (isinstance(base, np.memmap) and base.filename):
        base = base.base
    if not isinstance(base, np.memmap) or values.dtype != np.float32:
        return None
    same = values.shape == base.shape and values.flags.c_contiguous and values.dtype == base.dtype
    return Path(str(base.filename)) if same and _address(values) == _address(base) else None


def _address(values: npt.NDArray[Any]) -> int:
    address: int = values.__array_interface__["data"][0]
    return address
