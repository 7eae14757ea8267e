"""The samples of a whole tar, run by run: those that are alike, in plain headers, are taken apart together.

Per sample there remain one small read and the addition of its files' sizes, which tell where the next one is; the rest
is looked at in columns. All else is read header by header, by `samples`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import numpy as np

from datacomp.tars.entries import BLOCK, WINDOW, Window
from datacomp.tars.plain import (
    LOOKED_AT,
    NAMING,
    SIZE,
    UID,
    Flags,
    Places,
    after,
    naming,
    pieces,
    plain,
    sizes_of,
    width_of,
)
from datacomp.tars.samples import IMAGES, Sample, Shape, samples, uid_of
from datacomp.uids import UID_DTYPE, Uids, from_digits

READS = 512
"""Small reads at a time: a run has about as many samples."""
SHORT, MANY = 32, 512
"""After a run shorter than that, which was not worth it, so many samples are read one by one."""
NO_UID = b"0" * 32


@dataclass(frozen=True)
class Run:
    """Samples in a row with the same files. Offsets are bytes of the tar."""

    shape: Shape
    start: Places
    """Where each one's first header begins, extended ones included: shape (n,)."""
    stop: Places
    """Where the header after its last file begins."""
    data: Places
    """Where each file begins, shape (n, files)."""
    sizes: Places
    """Bytes of each file, shape (n, files)."""
    uids: Uids
    """Shape (n,); of no meaning where it is not named."""
    named: Flags
    """Whether its json names a uid."""

    def place(self, extension: str) -> tuple[Places, Places] | None:
        """Offsets and sizes of the files of that extension."""
        if extension not in self.shape:
            return None
        file = self.shape.index(extension)
        return self.data[:, file], self.sizes[:, file]

    def image(self) -> tuple[Places, Places] | None:
        """Offsets and sizes of the files that a reader takes for the images."""
        return next((self.place(extension) for extension in IMAGES if extension in self.shape), None)


def runs(file: int) -> Iterator[Run]:
    """All samples of an open tar. ValueError when it is damaged, after what stands before the damage."""
    tar, buffer, offset, alone = Window(file), bytearray(READS * WINDOW + BLOCK), 0, 1
    while True:
        found = list(islice(samples(tar, offset), alone))
        for shape, alike in groupby(found, lambda sample: sample.shape):
            yield _of(shape, list(alike))
        if not found:
            return
        last = found[-1]
        run = _run(file, last, buffer)
        alone = MANY if run is None or run.start.size < SHORT else 1
        if run is not None:
            yield run
        offset = last.stop if run is None else int(run.stop[-1])


def _of(shape: Shape, found: Sequence[Sample]) -> Run:
    places = np.array([sample.places for sample in found], np.int64).reshape(len(found), len(shape), 2)
    uids = [uid_of(sample.json) for sample in found]
    return Run(
        shape,
        np.array([sample.start for sample in found], np.int64),
        np.array([sample.stop for sample in found], np.int64),
        places[..., 0],
        places[..., 1],
        from_digits(b"".join(uid or NO_UID for uid in uids)),
        np.array([uid is not None for uid in uids]),
    )


def _run(file: int, before: Sample, buffer: bytearray) -> Run | None:
    """The samples like the one before, from its end on, that are certain to end; None without any.

    A sample has ended where a plain header of another one follows.
    """
    content, shape = np.frombuffer(buffer, np.uint8), before.shape
    at = _walk(file, before.stop, len(shape), buffer)
    if len(at) < 2:
        return None
    width = width_of(content)
    heads = pieces(content, at, LOOKED_AT)
    good, stems = plain(heads, shape, width), heads[:, 0, :width]
    good[0] &= stems[0].tobytes() != before.stem
    good[1:] &= (stems[1:] != stems[:-1]).any(1)
    count = len(good) - 1 if good.all() else int(good.argmin()) - 1
    if count < 1:
        return None
    sizes = sizes_of(heads[:count, :, SIZE])
    ends = after(sizes).cumsum().reshape(sizes.shape) + before.stop
    data = ends - after(sizes) + BLOCK
    uids, known = _uids(file, buffer, shape, data, at[:count], sizes)
    return Run(shape, data[:, 0] - BLOCK, ends[:, -1], data, sizes, uids, known)


def _walk(file: int, offset: int, files: int, buffer: bytearray) -> Places:
    """Fill the buffer with what is read from an offset on; where in it each header stands: (n, files).

    Nothing is looked at but the sizes that headers give, so that what is no header ends it sooner or later.
    """
    heads: list[int] = []
    at = base = used = 0
    first, last = SIZE.start, SIZE.stop
    try:
        while used + WINDOW <= len(buffer):
            offset += at
            content = os.pread(file, WINDOW, offset)
            base, used = used, used + len(content)
            buffer[base:used] = content
            at, limit = 0, len(content) - BLOCK
            while at <= limit:
                size = int(content[at + first : at + last], 8)
                heads.append(base + at)
                at += (size + (2 * BLOCK - 1)) & -BLOCK if size >= 0 else len(buffer)
            if len(content) < WINDOW:
                break
    except ValueError:
        pass
    return np.array(heads[: len(heads) // files * files], np.int64).reshape(-1, files)


def _uids(file: int, buffer: bytearray, shape: Shape, data: Places, heads: Places, sizes: Places) -> tuple[Uids, Flags]:
    """The uid of each sample, and whether its json names one: in columns where the json begins with it.

    `data` is where files lie in the tar, `heads` where in the buffer their headers do.
    """
    if "json" not in shape:
        return np.zeros(len(data), UID_DTYPE), np.zeros(len(data), np.bool_)
    data, heads, sizes = (each[:, shape.index("json")] for each in (data, heads, sizes))
    content, at = np.frombuffer(buffer, np.uint8), heads + BLOCK
    ends = at + sizes
    read = heads % WINDOW + (BLOCK + sizes) <= WINDOW  # by the read that brought the header
    about = pieces(content, at, NAMING)
    known = naming(about) & read & (sizes > NAMING)
    known &= content[np.minimum(ends, len(buffer)) - 1] == ord("}")
    known &= [buffer.find(b'"uid"', b + NAMING, e) < 0 for b, e in zip(at.tolist(), ends.tolist(), strict=True)]
    digits = about[:, UID]
    for row in np.flatnonzero(~known).tolist():
        text = buffer[at[row] : ends[row]] if read[row] else os.pread(file, int(sizes[row]), int(data[row]))
        uid = uid_of(text)
        digits[row], known[row] = list(uid or NO_UID), uid is not None
    return from_digits(digits.tobytes()), known
