"""Writing tars whose bytes depend on nothing but what is written: no times, no owners of this machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from struct import Struct
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from datacomp.tars.entries import BLOCK, Window
from datacomp.tars.plain import SIZE, Apart, Bytes, Places, anywhere
from datacomp.tars.samples import Sample, Shape

RECORD = 20 * BLOCK
"""Tars end padded to this size."""
BUFFER = 2 << 20


class Member(NamedTuple):
    """One file of a sample."""

    extension: str
    data: bytes | memoryview


class TarWriter:
    """A tar in the making. Samples are read from other tars right into the buffer that is written."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self._used = 0
        self.written = 0
        """Bytes of the tar that are in the file: what is loaded comes behind them."""

    @property
    def size(self) -> int:
        """Bytes of the tar so far."""
        return self.written + self._used

    def load(self, file: int, start: int, stop: int) -> Window:
        """Add bytes `start` to `stop` of another tar; a window on them, good until more is added.

        ValueError when that tar is shorter. `rename` must follow, or `drop`.
        """
        self._reserve(stop - start)
        begin = start - self._used
        self._read(file, start, stop)
        return Window(file, begin=begin, content=self._buffer, size=stop)

    def load_all(self, spans: Iterable[tuple[int, int, int]]) -> Bytes:
        """Write all there is, then fill the buffer with (file, start, stop) of other tars, `BUFFER` bytes at most.

        ValueError when one is shorter. `rename_all` must follow, or `clear`.
        """
        self._flush()
        for file, start, stop in spans:
            self._read(file, start, stop)
        return np.frombuffer(self._buffer, np.uint8)

    def rename_all(self, loaded: Apart, shape: Shape, uids: Bytes, copies: Places) -> None:
        """Give all samples loaded new headers: keys of uids, digits of shape (n, 32), and of copies below 10."""
        content = np.frombuffer(self._buffer, np.uint8)
        ends = (loaded.at + BLOCK + loaded.sizes).reshape(-1).tolist()
        for end, padding in zip(ends, (-loaded.sizes % BLOCK).reshape(-1).tolist(), strict=True):
            self._buffer[end : end + padding] = _ZEROS[:padding]
        blank, weight = _blank(shape)
        made = np.empty((*loaded.at.shape, BLOCK), np.uint8)
        made[...] = blank
        digits = loaded.heads[:, :, SIZE]
        made[:, :, :32], made[:, :, 33], made[:, :, SIZE] = uids[:, None], ord("0") + copies[:, None], digits
        sums = weight + digits.sum(2) + (uids.sum(1) + copies.astype(np.uint64))[:, None]
        made[:, :, CHECKSUM] = (sums[..., None] >> _SHIFTS & 7) + ord("0")
        anywhere(content, BLOCK)[loaded.at] = made.view(f"V{BLOCK}")[..., 0]

    def clear(self) -> None:
        """Take back what `load_all` loaded."""
        self._used = 0

    def rename(self, sample: Sample, key: str) -> None:
        """Give the sample loaded last new headers under another key. It must be plain."""
        at = self._used - (sample.stop - sample.start) - sample.start
        name, weight = key.encode(), sum(key.encode())
        for extension, (data, size) in zip(sample.shape, sample.places, strict=True):
            end, padding = data + at + size, -size % BLOCK
            _HEADER.pack_into(self._buffer, data + at - BLOCK, *_ustar(name, weight, extension, size))
            self._buffer[end : end + padding] = _ZEROS[:padding]

    def drop(self, window: Window, start: int) -> None:
        """Take back what was loaded last, from byte `start` of the other tar on."""
        self._used = start - window.begin

    def write_files(self, key: str, members: Sequence[Member]) -> dict[str, tuple[int, int]]:
        """Write a sample's files in this order; returns offset and size of each by its extension."""
        places: dict[str, tuple[int, int]] = {}
        name, weight = key.encode(), sum(key.encode())
        for member in members:
            size = len(member.data)
            places[member.extension] = (self.size + BLOCK, size)
            self._add(_HEADER.pack(*_ustar(name, weight, member.extension, size)))
            self._add(member.data)
            self._add(_ZEROS[: -size % BLOCK])
        return places

    def close(self, *, whole: bool = True) -> None:
        """End the tar with zeros, as tars end; or leave off where it is."""
        try:
            if whole:
                self._add(bytes(2 * BLOCK + -(self.size + 2 * BLOCK) % RECORD))
                self._flush()
        finally:
            os.close(self._file)

    def _add(self, data: bytes | memoryview) -> None:
        self._reserve(len(data))
        self._buffer[self._used : self._used + len(data)] = data
        self._used += len(data)

    def _read(self, file: int, start: int, stop: int) -> None:
        end = self._used + stop - start
        if os.preadv(file, [self._view[self._used : end]], start) != stop - start:
            raise ValueError(f"the tar ends before byte {stop}")
        self._used = end

    def _reserve(self, size: int) -> None:
        if self._used + size > len(self._buffer):
            self._flush()
            if size > len(self._buffer):
                self._buffer = bytearray(size)
                self._view = memoryview(self._buffer)

    def _flush(self) -> None:
        done = 0
        while done < self._used:  # a disk that fills up takes a part before it refuses
            done += os.write(self._file, self._view[done : self._used])
        self.written += self._used
        self._used = 0


@lru_cache
def is_sorted(shape: tuple[str, ...]) -> bool:
    """Whether a sample's files stand as webdataset writes them: sorted by extension."""
    return list(shape) == sorted(shape)


def _ustar(key: bytes, weight: int, extension: str, size: int) -> tuple[bytes, ...]:
    """The fields of `_HEADER` for a plain file: mode 0444, owner 0, time 0. `weight` is the sum of the key's bytes."""
    ending, own = _ending(extension)
    digits = b"%011o" % size
    name = key + ending
    if len(name) > 100 or size >= 8**11:
        raise ValueError(f"{name.decode()} of {size} bytes does not fit a ustar header")
    checksum = _CONSTANT + weight + own + sum(digits)
    return name, _OWNER, digits, _TIME, b"%06o\0 " % checksum, _REST


@lru_cache
def _ending(extension: str) -> tuple[bytes, int]:
    ending = f".{extension}".encode()
    return ending, sum(ending)


@lru_cache
def _blank(shape: Shape) -> tuple[Bytes, npt.NDArray[np.uint64]]:
    """Headers of a shape's files under a key of zeros, (files, `BLOCK`), and their sums without uid and size."""
    key = b"0" * 32 + b"-0"
    heads = [_HEADER.pack(*_ustar(key, sum(key), extension, 0)) for extension in shape]
    zeros = 32 + SIZE.stop - SIZE.start
    sums = [int(head[CHECKSUM], 8) - zeros * ord("0") for head in heads]
    return np.array([list(head) for head in heads], np.uint8), np.array(sums, np.uint64)


_ZEROS = bytes(BLOCK)
CHECKSUM = slice(148, 154)
_SHIFTS = np.arange(15, -1, -3, dtype=np.uint64)
_HEADER = Struct("100s24s11s13s8s356s")
"""Name, owner, size in octal digits, time, checksum and the rest of a ustar header, which fill a block."""
_OWNER = b"0000444\0" + b"0000000\0" * 2
_TIME = b"\x0000000000000\0"
_REST = (b"0" + bytes(100) + b"ustar\x0000" + b"bigdata".ljust(32, b"\0") * 2 + b"0000000\0" * 2).ljust(356, b"\0")
_CONSTANT = sum(_OWNER) + sum(_TIME) + 8 * ord(" ") + sum(_REST)
