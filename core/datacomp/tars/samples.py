"""The samples of a tar: files in a row that share a stem, and the uid that their json names."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from datacomp.tars.entries import BLOCK, Entry, Window, entries

IMAGES = ("jpg", "png", "jpeg", "webp")
"""Extensions in the order in which open_clip's reader prefers them."""
Shape = tuple[str, ...]
"""The extensions of a sample's files, in their order and in lower case."""


class Sample(NamedTuple):
    """One sample. Offsets are bytes of the tar."""

    start: int
    """Where its first header begins, extended ones included."""
    stop: int
    """Where the header after its last file begins."""
    size: int
    """Bytes of its files together."""
    stem: bytes
    shape: Shape
    places: Sequence[tuple[int, int]]
    """Offset and size of each file."""
    json: bytes | bytearray | None
    """Its first json."""
    plain: bool
    """Whether there is one header to each file, and nothing else."""

    def place(self, extension: str) -> tuple[int, int] | None:
        """Offset and size of the file of that extension."""
        return self.places[self.shape.index(extension)] if extension in self.shape else None

    def image(self) -> tuple[int, int] | None:
        """Offset and size of the file that a reader takes for the image."""
        return next((self.place(extension) for extension in IMAGES if extension in self.shape), None)


def samples(tar: Window, offset: int = 0) -> Iterator[Sample]:
    """The samples from an offset on, at which one begins. ValueError when the tar is damaged there.

    Most samples have the same files as the one before, in plain headers: `_alike` takes those apart quickly and leaves
    all else to the reading of header by header.
    """
    shape: Shape = ()
    while offset < tar.size:
        for sample in _alike(tar, offset, shape):
            yield sample
            offset = sample.stop
        whole = _any(tar, offset)
        if whole is None:
            return
        yield whole
        shape, offset = whole.shape, whole.stop


def sample_at(tar: Window, offset: int, shape: Shape = ()) -> Sample | None:
    """The sample at an offset, quickly if it has this shape. ValueError as `samples`; None at the tar's end."""
    return next(_alike(tar, offset, shape), None) or _any(tar, offset)


def _any(tar: Window, offset: int) -> Sample | None:
    """The next sample; another file of an extension that is there begins another one. None at the end."""
    files: list[Entry] = []
    seen: set[str] = set()
    for entry in entries(tar, offset):
        if files and (entry.stem != files[0].stem or entry.extension in seen):
            break
        files.append(entry)
        seen.add(entry.extension)
    if not files:
        return None
    about = next((tar.bytes(file.data, file.size) for file in files if file.extension == "json"), None)
    stem, shape = files[0].stem.encode("utf-8", "surrogateescape"), tuple(file.extension for file in files)
    size, places = sum(file.size for file in files), [(file.data, file.size) for file in files]
    plain = sum(file.stop - file.data + BLOCK for file in files) == files[-1].stop - files[0].start
    return Sample(files[0].start, files[-1].stop, size, stem, shape, places, about, plain)


@lru_cache
def _headers(shape: Shape) -> tuple[tuple[Callable[[bytes | bytearray, int], re.Match[bytes] | None], bool], ...]:
    """For each file of a shape: what matches its header if that is plain (stem and octal size), whether it is json.

    A plain header has a name of digits and letters in its first field alone, an octal size and the format's mark.
    """
    form = rb"(?s)(?=([0-9A-Za-z]{1,80})\.%b\0).{124}([0-7]{11}).{21}0.{100}ustar.{83}\0"
    return tuple((re.compile(form % re.escape(each.encode())).match, each == "json") for each in shape)


def _alike(tar: Window, offset: int, shape: Shape) -> Iterator[Sample]:
    """The samples from an offset on as long as they have this shape, in plain headers, and it is certain that they end.

    A sample has ended where a plain header of another one follows, or nothing.
    """
    content, at, end = tar.content, offset - tar.begin, tar.size
    limit = min(len(content), end - tar.begin) - BLOCK
    headers, last = _headers(shape), None
    while headers:
        start, stem, about, total = offset, b"", None, 0
        places = []
        for match, is_json in headers:
            if at > limit or at < 0:
                if offset + BLOCK > end:
                    if last is not None and offset == start:
                        yield last
                    return
                at = tar.find(offset, BLOCK)
                content = tar.content
                limit = len(content) - BLOCK
            header = match(content, at)
            if header is None:
                return
            name, digits = header.groups()
            if name != stem:
                if stem:
                    return
                stem = name
                if last is not None:
                    if stem == last.stem:
                        return
                    yield last
                    last = None
            size = int(digits, 8)
            offset, at, total = offset + BLOCK, at + BLOCK, total + size
            places.append((offset, size))
            if is_json:
                about = content[at : at + size] if at + size <= len(content) else tar.bytes(offset, size)
            step = size + -size % BLOCK
            offset, at = offset + step, at + step
        if offset > end:
            return
        last = Sample(start, offset, total, stem, shape, places, about, True)


_FIRST = re.compile(rb'\{"uid": "([0-9a-fA-F]{32})"').match
_LATER = re.compile(rb'\{[^{]*?[ ,]"uid": "([0-9a-fA-F]{32})"').match
_HEX = re.compile(r"[0-9a-fA-F]{32}").fullmatch


def uid_of(about: bytes | bytearray | None) -> bytes | None:
    """The uid that a sample's json names, as hex digits; None without one that can be a uid.

    Where the key stands once, and before any inner object, it is the object's own: quotation marks inside
    strings are escaped. All else is read as json.
    """
    if about is None:
        return None
    found = _FIRST(about) or _LATER(about)
    if found and about.endswith(b"}") and about.find(b'"uid"', found.end()) < 0:
        return bytes(found[1])
    try:
        uid = json.loads(about)["uid"]
        return uid.encode() if _HEX(uid) else None
    except (ValueError, KeyError, TypeError):
        return None
