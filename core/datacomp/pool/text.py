"""Figures of captions, computed over Arrow's UTF-8 bytes for all rows at once.

They equal what Python says of each string: `len(text)`, `len(text.split())`. The original's rules are defined by
these, exotic white space and all.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int64]
_WIDE_SPACES = [
    int.from_bytes(character.encode().ljust(3, b"\0"))
    for character in map(chr, range(0x80, 0x3001))
    if character.isspace()
]
"""UTF-8 of the white space of `str.split` beyond ASCII: two or three bytes, as a number of three."""
_PYTHON_SPACE = np.array([chr(byte).isspace() for byte in range(0x80)])
_FASTTEXT_SPACE = np.isin(np.arange(0x80), list(b" \n\r\t\v\f\0"))
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""
_STEP = np.uint64(0x9E3779B97F4A7C15)
_ONES = np.uint64(0xFFFFFFFFFFFFFFFF)


@dataclass(frozen=True)
class Captions:
    """Captions as bytes: row i is `data[offsets[i]:offsets[i + 1]]`."""

    data: Bytes
    offsets: Numbers

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> Captions:
        """From an Arrow column of text; null is the empty caption. One chunk without null is not copied."""
        array = _one_array(column)
        if not len(array):
            return cls(np.empty(0, np.uint8), np.zeros(1, np.int64))
        _, offsets, data = array.buffers()
        kind = np.dtype(np.int64 if array.type == "large_string" else np.int32)
        places = np.frombuffer(offsets, kind, len(array) + 1, array.offset * kind.itemsize).astype(np.int64)
        return cls(np.frombuffer(data or b"", np.uint8)[places[0] : places[-1]], places - places[0])

    def words_and_tokens(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int16]]:
        """`len(text.split())` of every row, and its fastText tokens, at most 32,767.

        fastText's tokens are runs between ASCII white space or NUL, and every new line is one, too.
        """
        data = self.data
        # Captions have few control characters: they are looked at one by one.
        fasttext = data <= 0x20
        odd = np.flatnonzero(data < 0x20)
        python = fasttext.copy()
        python[odd], fasttext[odd] = _PYTHON_SPACE[data[odd]], _FASTTEXT_SPACE[data[odd]]
        wide = _mark_wide_spaces(data, python)
        words = self._runs(python)
        runs = self._runs(fasttext) if odd.size or wide else words
        lines = self._count(data == 0x0A) if odd.size else np.int32(0)
        return words, np.minimum(runs + lines, np.iinfo(np.int16).max).astype(np.int16)

    def characters(self) -> npt.NDArray[np.int32]:
        """`len(text)` of every row: code points."""
        return self._count(self.data.view(np.int8) >= -0x40)  # the others continue a code point

    def hashes(self, limit: int | None = None) -> npt.NDArray[np.uint64]:
        """A 64-bit hash of every row's bytes, or of its first `limit`: equal texts have equal hashes, everywhere."""
        lengths = np.diff(self.offsets)
        lengths = lengths if limit is None else np.minimum(lengths, limit)
        needed = (lengths + 7) >> 3  # words of eight bytes
        by_need = _most_first(needed)
        places, left = self.offsets[:-1][by_need], lengths[by_need].astype(np.uint64)
        # Eight spare bytes, so that the last caption's last word can be read whole.
        padded = np.concatenate([self.data, np.zeros(8, np.uint8)])
        words = np.ndarray((padded.size - 7,), "<u8", padded.data, 0, (1,))
        state = _mixed(left * _STEP)
        active = np.cumsum(np.bincount(needed)[::-1])[::-1]  # active[k]: how many need at least k words
        for k, (now, after) in enumerate(pairwise([*active[1:], 0])):
            word = words[places[:now] + 8 * k]
            # Of the captions that end here the word holds too much.
            word[after:] &= _ONES >> (np.uint64(64) - (left[after:now] - np.uint64(8 * k)) * np.uint64(8))
            state[:now] = _mixed((state[:now] ^ word) * _STEP + _STEP)
        hashes = np.empty(lengths.size, np.uint64)
        hashes[by_need] = state
        return hashes

    def _runs(self, space: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """How many runs of bytes that are no space each row has."""
        begins = np.empty_like(space)
        begins[1:] = space[:-1]
        starts = self.offsets[:-1]
        begins[starts[starts < space.size]] = True
        begins &= ~space
        return self._count(begins)

    def _count(self, marked: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
        """How many bytes of each row are marked: differences of ranks, eight bytes of bits at a time."""
        bits = np.zeros((marked.size >> 6) + 1, "<u8")
        packed = np.packbits(marked, bitorder="little")
        bits.view(np.uint8)[: packed.size] = packed
        ranks = np.zeros(bits.size, np.int64)
        np.cumsum(np.bitwise_count(bits[:-1]), out=ranks[1:])
        block = self.offsets >> 6
        below = bits[block] & ~(_ONES << (self.offsets & 63).astype(np.uint64))
        return np.asarray(np.diff(ranks[block] + np.bitwise_count(below)), np.int32)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    """A column of text in one piece and without null."""
    import pyarrow as pa

    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.cast(pa.large_string())
    chunks = [chunk.fill_null("") if chunk.null_count else chunk for chunk in column.chunks]
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays([pa.array([], column.type), *chunks])


def _most_first(needed: Numbers) -> Numbers:
    most = int(needed.max(initial=0))
    if needed.min(initial=most) == most:
        return np.arange(needed.size)
    # Few bytes are sorted digit by digit, several times as fast.
    return np.argsort((most - needed).astype(np.min_scalar_type(most)), kind="stable")


def _mark_wide_spaces(data: Bytes, space: npt.NDArray[np.bool_]) -> bool:
    """Mark every byte of the white space of `str.split` beyond ASCII; whether there is any.

    A lead byte never occurs inside another character, so that finding the bytes is finding the character.
    """
    leads = np.flatnonzero((data - np.uint8(0xE1) < 3) | (data == 0xC2))  # no other byte leads one
    width = np.where(data[leads] < 0xE0, 2, 3)
    whole = leads + width <= data.size
    leads, width = leads[whole], width[whole]
    codes = data[leads] * np.int32(1 << 16) + data[leads + 1] * np.int32(1 << 8)
    codes += np.where(width == 3, data[leads + width - 1], 0)
    found = np.isin(codes, _WIDE_SPACES, kind="sort")  # a table would be of two million
    leads, width = leads[found], width[found]
    for place in (np.int64(0), np.int64(1), width - 1):
        space[leads + place] = True
    return bool(leads.size)


def _mixed(value: Any) -> Any:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    return value ^ (value >> np.uint64(31))
