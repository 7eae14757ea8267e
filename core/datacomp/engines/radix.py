"""The value at a place of the descending order, from histograms of parts that are never brought together.

Values become unsigned keys of the same order. Sixteen bits at a time, every part counts its keys by the next bits among
those that share the bits found so far; counts add up, so parts may be counted anywhere, in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

BITS = 16
Histogram = npt.NDArray[np.int64]
Count = Callable[[int, int], Histogram]
"""Given a prefix and its number of bits, the histogram of the next `BITS` bits over all parts: shape (65536,)."""


def keys(values: npt.NDArray[Any]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """Unsigned keys in the order of the values, NaN left out. Floats, and integers of at most 64 bits."""
    if values.dtype.kind == "f":
        values = values[~np.isnan(values)]
        wide = values.astype(np.float64 if values.dtype.itemsize > 4 else np.float32) + 0  # -0 is 0
        bits: npt.NDArray[Any] = wide.view(np.uint64 if wide.dtype.itemsize == 8 else np.uint32)
        top = bits.dtype.type(1 << (bits.dtype.itemsize * 8 - 1))
        ordered: npt.NDArray[np.unsignedinteger[Any]] = np.where(bits & top, np.bitwise_not(bits), bits | top)
        return ordered
    if values.dtype.kind == "u":
        return values.astype(np.uint64)
    return values.astype(np.int64).view(np.uint64) ^ np.uint64(1 << 63)


def value(key: int, dtype: np.dtype[Any]) -> int | float:
    """The value that a key stands for."""
    if dtype.kind == "f":
        width = 64 if dtype.itemsize > 4 else 32
        top = 1 << (width - 1)
        bits = key ^ top if key & top else ~key & (2 * top - 1)
        kinds = (np.uint64, np.float64) if width == 64 else (np.uint32, np.float32)
        return float(np.array(bits, kinds[0]).view(kinds[1]))
    return key if dtype.kind == "u" else key - (1 << 63)


def width(dtype: np.dtype[Any]) -> int:
    """Bits of the keys of values of this type."""
    return 32 if dtype.kind == "f" and dtype.itemsize <= 4 else 64


def histogram(values: npt.NDArray[Any], prefix: int, known: int) -> Histogram:
    """How often each of the next `BITS` bits comes among a part's values whose keys begin with a prefix."""
    own = keys(values)
    kind = own.dtype.type
    bits = own.dtype.itemsize * 8
    if known:
        own = own[own >> kind(bits - known) == kind(prefix)]
    digits = (own >> kind(bits - known - BITS)) & kind((1 << BITS) - 1)
    return np.bincount(digits.astype(np.int64), minlength=1 << BITS)


def kth_largest(count: Count, dtype: np.dtype[Any], place: int) -> int | float | None:
    """The value at `place` (from 0) of the descending order of all parts; None where NaN stands there."""
    prefix = 0
    for known in range(0, width(dtype), BITS):
        counts = count(prefix, known)[::-1]
        above = np.cumsum(counts)
        digit = int(np.searchsorted(above, place, "right"))
        if digit == counts.size:
            return None
        place -= int(above[digit] - counts[digit])
        prefix = prefix << BITS | (counts.size - 1 - digit)
    return value(prefix, dtype)
