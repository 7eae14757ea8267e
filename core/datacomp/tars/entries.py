"""The few parts of the tar format that finding files takes: headers, read without what lies between them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

BLOCK = 512
WINDOW = 3584
"""Bytes read at once: a sample's files behind its image, and the header of the next sample's image."""
_EXTENDED, _LONG_NAME = b"x", b"L"
_SKIPPED = (_EXTENDED, b"g", _LONG_NAME, b"K")
"""Headers that describe the member after them."""
LONGEST_EXTENDED = 1 << 20
"""Bytes of an extended header, which is read whole."""
_PLAIN = (b"0", b"\0")
"""Types of a member that is a plain file."""


class Entry(NamedTuple):
    """One plain file of a tar. Offsets are bytes of the tar."""

    stem: str
    """Its name up to the first dot of its last part: what the files of one sample share."""
    extension: str
    """The rest, in lower case."""
    start: int
    """Where its first header begins, extended ones included."""
    data: int
    size: int

    @property
    def stop(self) -> int:
        """Where the next header begins."""
        return padded(self.data + self.size)


class Window:
    """Random access to a tar through one small read at a time; mapping it would fault in a page for every header."""

    def __init__(self, file: int, *, begin: int = 0, content: bytes | bytearray = b"", size: int | None = None) -> None:
        """Of an open file; or up to byte `size` of it, of which `content` has been read from byte `begin` on."""
        self._file = file
        self.size = os.fstat(file).st_size if size is None else size
        """Where it ends: bytes from the file's beginning."""
        self.begin = begin
        self.content = content

    def find(self, offset: int, size: int) -> int:
        """Where in `content` the bytes from `offset` on lie, now that they are there. ValueError beyond the end."""
        at = offset - self.begin
        if at < 0 or at + size > len(self.content):
            if offset + size > self.size:
                raise ValueError(f"the tar ends before byte {offset + size}")
            self.content = os.pread(self._file, max(size, WINDOW), offset)
            self.begin, at = offset, 0
            if len(self.content) < size:
                raise ValueError(f"the tar was cut to {offset + len(self.content)} bytes while it was read")
        return at

    def bytes(self, offset: int, size: int) -> bytes:
        """These bytes of the tar. ValueError beyond its end."""
        at = self.find(offset, size)
        return bytes(self.content[at : at + size])


def padded(size: int) -> int:
    """Up to the next block."""
    return size + -size % BLOCK


def entries(tar: Window, offset: int = 0) -> Iterator[Entry]:
    """The plain files with an extension from an offset on. ValueError when the tar is damaged there."""
    begin, extended = offset, _Extended()
    while offset < tar.size:
        header = tar.bytes(offset, BLOCK)
        if header[0] == 0 and not any(header):
            return
        size = extended.size if extended.size is not None else _size(header, offset)
        kind, data = header[156:157], offset + BLOCK
        if size < 0 or data + size > tar.size:
            raise ValueError(f"the tar ends inside {_name(header)}")
        offset = padded(data + size)
        if kind in _SKIPPED:
            if size > LONGEST_EXTENDED:
                raise ValueError(f"an extended header of {size:,} bytes at byte {begin}")
            extended.add(kind, tar.bytes(data, size))
            continue
        if kind in _PLAIN:
            stem, extension = split(extended.name or _name(header))
            if extension:
                yield Entry(stem, extension, begin, data, size)
        begin, extended = offset, _Extended()
    if offset > tar.size:
        raise ValueError(f"the tar ends inside the file before byte {offset}")


class _Extended:
    """What extended headers say of the member after them."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.size: int | None = None

    def add(self, kind: bytes, data: bytes) -> None:
        if kind == _LONG_NAME:
            self.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == _EXTENDED:
            records = dict(_records(data))
            if b"path" in records:
                self.name = records[b"path"].decode("utf-8", "surrogateescape")
            if b"size" in records:
                self.size = int(records[b"size"])


def _records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The records `LENGTH KEY=VALUE\\n` of an extended header."""
    at = 0
    while at < len(data) and data[at] != 0:
        length = int(data[at : data.index(b" ", at)])
        if length <= 0:
            raise ValueError("an extended header is damaged")
        _, _, record = data[at : at + length - 1].partition(b" ")
        key, _, value = record.partition(b"=")
        yield key, value
        at += length


def _size(header: bytes, offset: int) -> int:
    if header[257:262] != b"ustar" and not _sums_up(header):
        raise ValueError(f"no tar header at byte {offset}")
    field = header[124:136]
    if field[0] == 0x80:  # base 256, for files beyond 8 GiB
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if digits.strip(b"01234567"):  # of signs and underscores, which Python reads too, a tar has none
        raise ValueError(f"no tar header at byte {offset}: its size is {field!r}")
    return int(digits, 8)


def _sums_up(header: bytes) -> bool:
    """Whether the header's checksum is right: old tars have no other mark."""
    try:
        return int(header[148:156].strip(b" \0") or b"0", 8) == sum(header) - sum(header[148:156]) + 8 * ord(" ")
    except ValueError:
        return False


def _name(header: bytes) -> str:
    name = header[:100].partition(b"\0")[0]
    prefix = header[345:500].partition(b"\0")[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "surrogateescape")


def split(name: str) -> tuple[str, str]:
    """Stem and lower-case extension, as webdataset takes them apart; no extension for what is no sample's file."""
    folder, slash, base = name.rpartition("/")
    stem, _, extension = base.partition(".")
    if not stem or (not slash and base.startswith("__") and base.endswith("__")):
        return name, ""
    return folder + slash + stem, extension.lower()
