"""Copying samples between tars as bytes: the few parts of the tar format that takes, without decoding anything."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from mmap import mmap
from pathlib import Path

BLOCK = 512
RECORD = 20 * BLOCK
"""Tars end padded to this size."""
_SKIPPED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
"""Headers that describe the member after them."""


@dataclass(frozen=True)
class Member:
    """One file of a sample."""

    extension: str
    data: bytes


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
    image, text = _header(tar, image_offset - BLOCK), _header(tar, text_offset - BLOCK)
    stem, _, extension = image.name.partition(".")
    if text.name != f"{stem}.txt" or image_offset == text_offset:
        raise ValueError(f"at its places lie {image.name} and {text.name}")
    members = _walk(tar, first - BLOCK, stem)
    if "json" not in members:
        members = {**_walk_from_start(tar, stem), **members}
    files = tuple(Member(name, members[name]) for name in sorted(members))
    return Sample(uid, files, extension.lower())


def _header(tar: mmap, offset: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(tar[offset : offset + BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ValueError(f"no tar header at byte {offset}: {error}") from error


def _walk(tar: mmap, offset: int, stem: str) -> dict[str, bytes]:
    """Files of the sample `stem` from `offset` on, until another sample begins."""
    found: dict[str, bytes] = {}
    while offset + BLOCK <= len(tar) and tar[offset] != 0:
        header = _header(tar, offset)
        name, _, extension = header.name.partition(".")
        if header.type not in _SKIPPED:
            if name != stem:
                break
            found[extension.lower()] = _data(tar, offset, header)
        offset = _next(offset, header)
    return found


def _walk_from_start(tar: mmap, stem: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    offset = 0
    while offset + BLOCK <= len(tar) and tar[offset] != 0:
        header = _header(tar, offset)
        name, _, extension = header.name.partition(".")
        if header.type not in _SKIPPED and name == stem:
            found[extension.lower()] = _data(tar, offset, header)
        offset = _next(offset, header)
    return found


def _data(tar: mmap, offset: int, header: tarfile.TarInfo) -> bytes:
    data = tar[offset + BLOCK : offset + BLOCK + header.size]
    if len(data) != header.size:
        raise ValueError(f"the tar ends inside {header.name}")
    return data


def _next(offset: int, header: tarfile.TarInfo) -> int:
    return offset + BLOCK + -(-header.size // BLOCK) * BLOCK


class TarWriter:
    """Writes a tar whose bytes depend on nothing but what is written: no times, no owners of this machine."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._at = 0

    def write(self, key: str, sample: Sample) -> tuple[tuple[int, int], tuple[int, int]]:
        """Write a sample under a key; returns (offset, size) of its image and of its caption."""
        places: dict[str, tuple[int, int]] = {}
        for member in sample.members:
            header = _ustar(f"{key}.{member.extension}", len(member.data))
            places[member.extension] = (self._at + BLOCK, len(member.data))
            padding = bytes(-len(member.data) % BLOCK)
            self._at += self._file.write(header + member.data + padding)
        return places[sample.image], places["txt"]

    def close(self) -> None:
        """End the tar with zeros, as tars end."""
        self._file.write(bytes(2 * BLOCK + -(self._at + 2 * BLOCK) % RECORD))
        self._file.close()


def _ustar(name: str, size: int) -> bytes:
    """A ustar header of a plain file: mode 0444, owner 0, time 0."""
    encoded = name.encode()
    if len(encoded) > 100 or size >= 8**11:
        raise ValueError(f"{name} of {size} bytes does not fit a ustar header")
    before = encoded.ljust(100, b"\0") + b"0000444\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    after = b"0" + bytes(100) + b"ustar\x0000" + b"bigdata".ljust(32, b"\0") * 2 + b"0000000\0" * 2
    after = after.ljust(BLOCK - len(before) - 8, b"\0")
    checksum = sum(before) + 8 * ord(" ") + sum(after)
    return before + b"%06o\0 " % checksum + after
