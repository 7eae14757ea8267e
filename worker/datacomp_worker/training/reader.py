"""Random access to the images and captions of shards, wherever their tars lie."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple, NoReturn

from PIL import Image

from datacomp.problems import PlatformFault
from datacomp_worker.shards import Shards, SubsetShards

OPEN_TARS = 256
APART = 1 << 16
"""Bytes between image and caption up to which one read fetches both."""


class Undecodable(Exception):
    """A sample whose bytes are as they were indexed, but are no image with a caption."""


class _Place(NamedTuple):
    """Where a sample lies: a tar of a source, and bytes of it."""

    source: int
    tar: int
    image: int
    image_size: int
    text: int
    text_size: int

    @property
    def begin(self) -> int:
        return min(self.image, self.text)

    @property
    def end(self) -> int:
        return max(self.image + self.image_size, self.text + self.text_size)


@dataclass
class Reader:
    """Reads the samples of shards by row. Tars are opened when they are needed, and few are open at a time."""

    shards: Shards
    _open: OrderedDict[tuple[int, int], int] = field(default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._parts: list[SubsetShards] = [source.shards for source in self.shards.sources]
        self._indexes = [part.index for part in self._parts]
        self._starts = [0, *accumulate(part.samples for part in self._parts)]

    def __len__(self) -> int:
        return self._starts[-1]

    def read(self, row: int) -> tuple[Image.Image, str]:
        """Decode a sample as the trainer does: an RGB image and a caption.

        `Undecodable` where that is not possible. `PlatformFault` names a tar that is gone (`tar-missing`), that is not
        what it was when it was indexed (`tar-changed`), or that the system cannot read (`tar-unreadable`).
        """
        image, caption = self._bytes(self._place(row))
        try:
            return decode(image), caption.decode()
        except MemoryError:
            raise
        except (
            Exception
        ) as error:  # damaged files make PIL raise all kinds; the trainer's own reader passes over them too
            raise Undecodable(repr(error)) from error

    def expect(self, rows: Iterable[int]) -> None:
        """Have the system fetch what will be read soon, all at once rather than one after another.

        Faults are left to the reading.
        """
        for row in rows:
            place = self._place(row)
            if place.begin >= 0:
                with suppress(PlatformFault, OSError):
                    size = place.end - place.begin
                    os.posix_fadvise(self._file(place), place.begin, size, os.POSIX_FADV_WILLNEED)

    def _place(self, row: int) -> _Place:
        source = bisect_right(self._starts, row) - 1
        return _Place(source, *self._indexes[source][row - self._starts[source]].item())

    def _bytes(self, place: _Place) -> tuple[bytes, bytes]:
        if place.begin < 0:
            raise Undecodable("it has no image or no caption")
        if place.end - place.begin > place.image_size + place.text_size + APART:
            return self._read(place, place.image, place.image_size), self._read(place, place.text, place.text_size)
        both = self._read(place, place.begin, place.end - place.begin)
        image, text = place.image - place.begin, place.text - place.begin
        return both[image : image + place.image_size], both[text : text + place.text_size]

    def _read(self, place: _Place, offset: int, size: int) -> bytes:
        try:
            data = os.pread(self._file(place), size, offset)
        except OSError as error:
            self._fault(place, "tar-unreadable", f"the tar cannot be read: {error.strerror}")
        if len(data) != size:
            self._fault(place, "tar-changed", f"the tar has changed: it ends before byte {offset + size:,}")
        return data

    def _file(self, place: _Place) -> int:
        key = place[:2]
        if key not in self._open:
            while len(self._open) >= OPEN_TARS:
                os.close(self._open.popitem(last=False)[1])
            self._open[key] = self._opened(place)
        self._open.move_to_end(key)
        return self._open[key]

    def _opened(self, place: _Place) -> int:
        part = self._parts[place.source]
        try:
            file = os.open(part.tar(place.tar), os.O_RDONLY)
        except OSError as error:
            self._fault(place, "tar-missing", f"the tar cannot be opened: {error.strerror}")
        status, stamp = os.fstat(file), part.stamp(place.tar)
        if stamp is not None and stamp != (status.st_size, status.st_mtime_ns):
            os.close(file)
            self._fault(place, "tar-changed", "the tar has changed: it was written again after it was indexed")
        return file

    def _fault(self, place: _Place, code: str, message: str) -> NoReturn:
        part = self._parts[place.source]
        hint = "restore the tar; or, if it was meant to change, ingest its pool again"
        if part.tars is None:
            hint = f"remove {part.directory}; it is made again"
        raise PlatformFault.of(code, message, str(part.tar(place.tar)), hint)


def decode(data: bytes) -> Image.Image:
    """An image in RGB, as the trainer's `pilrgb` gives it, but not copied where it is RGB already."""
    with io.BytesIO(data) as stream, Image.open(stream) as image:
        image.load()
        return image if image.mode == "RGB" else image.convert("RGB")
