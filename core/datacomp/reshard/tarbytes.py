"""Copying samples between tars as bytes: the few parts of the tar format that takes, without decoding anything."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path
from typing import NamedTuple

BLOCK = 512
RECORD = 20 * BLOCK
"""Tars end padded to this size."""
_SKIPPED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Headers that describe the member after them."""
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
        return self.data + -(-self.size // BLOCK) * BLOCK


def entries(tar: mmap, offset: int = 0, stop: int | None = None) -> Iterator[Entry]:
    """The plain files with an extension between two offsets. ValueError when the tar is damaged there."""
    end = len(tar)
    begin, extended = offset, _Extended()
    limit = end if stop is None else stop
    while offset < limit:
        if begin == offset and offset + BLOCK <= end:
            name, digits, usual, prefix = _HEAD(tar, offset)
            stem, _, extension = name.partition(b".")
            data, extension = offset + BLOCK, extension.rstrip(b"\0")
            plain = usual[:1] == b"0" and usual[101:] == _USTAR and prefix == b"\0"
            if plain and stem.isalnum() and extension.isalnum():
                size = int(digits, 8) if digits.isdigit() else end
                if data + size <= end:
                    yield Entry(stem.decode(), extension.lower().decode(), offset, data, size)
                    begin = offset = data + (size + BLOCK - 1) // BLOCK * BLOCK
                    continue
        header = tar[offset : offset + BLOCK]
        if len(header) < BLOCK:
            raise ValueError(f"the tar ends inside a header at byte {offset}")
        if header[0] == 0 and not any(header):
            return
        size = extended.size if extended.size is not None else _size(header, offset)
        kind, data = header[156:157], offset + BLOCK
        if data + size > end:
            raise ValueError(f"the tar ends inside {_name(header)}")
        offset = data + -(-size // BLOCK) * BLOCK
        if kind in _SKIPPED:
            extended.add(kind, tar[data : data + size])
            continue
        if kind in _PLAIN:
            stem, extension = split(extended.name or _name(header))
            if extension:
                yield Entry(stem, extension, begin, data, size)
        begin, extended = offset, _Extended()
    if offset > end:
        raise ValueError(f"the tar ends inside the file before byte {offset}")


# A plain file with a name as samples have it, which is nearly every header: told quickly.
_HEAD = struct.Struct("100s24x11s21x106s83xc").unpack_from
_USTAR = b"ustar"


class _Extended:
    """What extended headers say of the member after them."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.size: int | None = None

    def add(self, kind: bytes, data: bytes) -> None:
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = data.rstrip(b"\0").decode("utf-8", "surrogateescape")
        elif kind == tarfile.XHDTYPE:
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
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError as error:
        raise ValueError(f"no tar header at byte {offset}: its size is {field!r}") from error


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


class Member(NamedTuple):
    """One file of a sample."""

    extension: str
    data: bytes | memoryview


@dataclass(frozen=True)
class Sample:
    """All files of one sample, and which of them are its image and its caption."""

    uid: str
    members: tuple[Member, ...]
    image: str
    """Extension of the image."""


def read_sample(tar: mmap, uid: str, image_offset: int, text_offset: int) -> Sample:
    """The sample whose image and caption lie at these offsets, with the files between and after them.

    ValueError when the tar has no such members there. A `.json` that stands before both (as beside a png) is found by
    reading the tar's headers from its beginning.
    """
    first = min(image_offset, text_offset)
    image, text = _entry(tar, image_offset - BLOCK), _entry(tar, text_offset - BLOCK)
    if text.extension != "txt" or text.stem != image.stem or image_offset == text_offset:
        raise ValueError(f"at its places lie {image.stem}.{image.extension} and {text.stem}.{text.extension}")
    members = _members(tar, image.stem, first - BLOCK)
    if "json" not in members:
        members = {**_members(tar, image.stem, 0, skip=True), **members}
    files = tuple(Member(name, members[name]) for name in sorted(members))
    return Sample(uid, files, image.extension)


def _entry(tar: mmap, offset: int) -> Entry:
    found = next(entries(tar, offset), None)
    if found is None or found.data != offset + BLOCK:
        raise ValueError(f"no file's header at byte {offset}")
    return found


def _members(tar: mmap, stem: str, offset: int, *, skip: bool = False) -> dict[str, bytes]:
    """Files of the sample `stem` from `offset` on, until another sample begins; with `skip` wherever they are."""
    found: dict[str, bytes] = {}
    for entry in entries(tar, offset):
        if entry.stem == stem:
            found[entry.extension] = tar[entry.data : entry.data + entry.size]
        elif not skip:
            break
    return found


class TarWriter:
    """Writes a tar whose bytes depend on nothing but what is written: no times, no owners of this machine."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", 1 << 20)
        self._at = 0

    def write(self, key: str, sample: Sample) -> tuple[tuple[int, int], tuple[int, int]]:
        """Write a sample under a key; returns (offset, size) of its image and of its caption."""
        places = self.write_files(key, sample.members)
        return places[sample.image], places["txt"]

    def write_files(self, key: str, members: tuple[Member, ...]) -> dict[str, tuple[int, int]]:
        """Write a sample's files in this order; returns offset and size of each by its extension."""
        places: dict[str, tuple[int, int]] = {}
        for member in members:
            size = len(member.data)
            places[member.extension] = (self._at + BLOCK, size)
            padding = -size % BLOCK
            self._file.write(_ustar(f"{key}.{member.extension}", size))
            self._file.write(member.data)
            self._file.write(bytes(padding))
            self._at += BLOCK + size + padding
        return places

    def close(self) -> None:
        """End the tar with zeros, as tars end."""
        self._file.write(bytes(2 * BLOCK + -(self._at + 2 * BLOCK) % RECORD))
        self._file.close()


def _ustar(name: str, size: int) -> bytes:
    """A ustar header of a plain file: mode 0444, owner 0, time 0."""
    encoded, digits = name.encode(), b"%011o" % size
    if len(encoded) > 100 or size >= 8**11:
        raise ValueError(f"{name} of {size} bytes does not fit a ustar header")
    checksum = _CONSTANT + sum(encoded) + sum(digits)
    return b"".join((encoded.ljust(100, b"\0"), _OWNER, digits, _TIME, b"%06o\0 " % checksum, _REST))


_OWNER = b"0000444\0" + b"0000000\0" * 2
_TIME = b"\x0000000000000\0"
_REST = (b"0" + bytes(100) + b"ustar\x0000" + b"bigdata".ljust(32, b"\0") * 2 + b"0000000\0" * 2).ljust(356, b"\0")
_CONSTANT = sum(_OWNER) + sum(_TIME) + 8 * ord(" ") + sum(_REST)
