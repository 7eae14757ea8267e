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

    def words_and_tokens(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """`len(text.split())` of every row, and its fastText tokens, at most 32,767.

        fastText's tokens are runs between ASCII white space or NUL, and every new line is one, too.
        """
        data = self.data
        python = _python_space(data)
        fasttext = (data == 0x20) | (data - np.uint8(9) < 5) | (data == 0)
        words = self._runs(python)
        runs = words if np.array_equal(python, fasttext) else self._runs(fasttext)
        tokens = np.minimum(runs + self._count(data == 0x0A), np.iinfo(np.int16).max)
        return words, np.asarray(tokens, np.int16)

    def characters(self) -> npt.NDArray[np.int32]:
        """`len(text)` of every row: code points."""
        return self._count((self.data & 0xC0) != 0x80)  # the others continue a code point

    def hashes(self, limit: int | None = None) -> npt.NDArray[np.uint64]:
        """A 64-bit hash of every row's bytes, or of its first `limit`: equal texts have equal hashes, everywhere."""
        lengths = np.diff(self.offsets)
        lengths = lengths if limit is None else np.minimum(lengths, limit)
        by_length = _longest_first(lengths)
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
        return self._count(before & ~space)

    def _count(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """How many bytes of each row are marked."""
        filled = np.diff(self.offsets) > 0
        counts = np.zeros(filled.size, np.int32)
        if marked.any():
            starts = self.offsets[:-1][filled]  # each reaches to the next: the rows between have no bytes
            counts[filled] = np.add.reduceat(marked.view(np.int8), starts, dtype=np.int32)
        return counts


def _longest_first(lengths: Numbers) -> Numbers:
    longest = int(lengths.max(initial=0))
    if lengths.min(initial=longest) == longest:
        return np.arange(lengths.size)
    # Two bytes are sorted digit by digit, several times as fast.
    return np.argsort((longest - lengths).astype(np.uint16 if longest < 1 << 16 else np.int64), kind="stable")


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
