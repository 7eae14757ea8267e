"""Figures of captions, computed over Arrow's UTF-8 bytes for all rows at once.

They equal what Python says of each string: `len(text)`, `len(text.split())`. The original's rules are defined by
these, exotic white space and all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
_WIDE_SPACES = tuple(character.encode() for character in map(chr, range(0x80, 0x3001)) if character.isspace())
"""UTF-8 of the white space of `str.split` beyond ASCII."""
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""
_STEP = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Captions:
    """Captions as bytes: row i is `data[offsets[i]:offsets[i + 1]]`."""

    data: Bytes
    offsets: Numbers

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Captions:
        """From an Arrow column of text; null is the empty caption."""
        import pyarrow as pa

        parts = [chunk.cast(pa.large_string()).fill_null("") for chunk in column.chunks]
        array = pa.concat_arrays([pa.array([], pa.large_string()), *parts])
        _, offsets, data = array.buffers()
        if not len(array):
            return cls(np.empty(0, np.uint8), np.zeros(1, np.int64))
        places = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
        return cls(np.frombuffer(data or b"", np.uint8)[: places[-1]], places)

    def words(self) -> npt.NDArray[np.int32]:
        """`len(text.split())` of every row."""
        return self._runs(_python_space(self.data))

    def characters(self) -> npt.NDArray[np.int32]:
        """`len(text)` of every row: code points."""
        inner = np.flatnonzero((self.data & 0xC0) == 0x80)  # bytes that continue a code point
        return (np.diff(self.offsets) - self._per_row(inner)).astype(np.int32)

    def tokens(self) -> npt.NDArray[np.int16]:
        """fastText's tokens of every row, at most 32,767: runs between ASCII white space or NUL, and new lines."""
        data = self.data
        space = (data == 0x20) | (data - np.uint8(9) < 5) | (data == 0)
        new_lines = self._per_row(np.flatnonzero(data == 0x0A))
        tokens = np.minimum(self._runs(space) + new_lines, np.iinfo(np.int16).max)
        return np.asarray(tokens, np.int16)

    def hashes(self, limit: int | None = None) -> npt.NDArray[np.uint64]:
        """A 64-bit hash of every row's bytes, or of its first `limit`: equal texts have equal hashes, everywhere."""
        lengths = np.diff(self.offsets)
        lengths = lengths if limit is None else np.minimum(lengths, limit)
        by_length = np.argsort(-lengths, kind="stable")
        places, left = self.offsets[:-1][by_length], lengths[by_length]
        # Eight spare bytes, so that the last caption's last word can be read whole.
        padded = np.concatenate([self.data, np.zeros(8, np.uint8)])
        words = np.ndarray((padded.size - 7,), "<u8", padded.data, 0, (1,))
        state = _mixed(left.astype(np.uint64) * _STEP)
        active = int(np.searchsorted(-left, 0))
        while active:
            word = words[places[:active]]
            short = np.minimum(left[:active], 8).astype(np.uint64)
            word &= np.uint64(0xFFFFFFFFFFFFFFFF) >> (np.uint64(64) - short * np.uint64(8))
            state[:active] = _mixed((state[:active] ^ word) * _STEP + _STEP)
            places, left = places[:active] + 8, left[:active] - 8
            active = int(np.searchsorted(-left, 0))
        hashes = np.empty(lengths.size, np.uint64)
        hashes[by_length] = state
        return hashes

    def _runs(self, space: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """How many runs of bytes that are no space each row has."""
        before = np.empty_like(space)
        before[1:] = space[:-1]
        starts = self.offsets[:-1]
        before[starts[starts < space.size]] = True
        return self._per_row(np.flatnonzero(before & ~space)).astype(np.int32)

    def _per_row(self, places: Numbers) -> Numbers:
        """How many of these byte places, in ascending order, fall into each row."""
        counts: Numbers = np.diff(np.searchsorted(places, self.offsets))
        return counts


def _python_space(data: Bytes) -> npt.NDArray[np.bool_]:
    """Which bytes belong to white space as `str.split` knows it."""
    space: npt.NDArray[np.bool_] = (data == 0x20) | (data - np.uint8(9) < 5) | (data - np.uint8(28) < 4)
    # A lead byte never occurs inside another character, so that finding the bytes is finding the character.
    for lead in {text[0] for text in _WIDE_SPACES}:
        leads = np.flatnonzero(data == lead)
        for text in (text for text in _WIDE_SPACES if text[0] == lead):
            found = leads[leads + len(text) <= data.size]
            for place, byte in enumerate(text[1:], 1):
                found = found[data[found + place] == byte]
            for place in range(len(text)):
                space[found + place] = True
    return space


def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))
