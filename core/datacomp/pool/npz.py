"""Arrays inside `.npz` files, mapped where they lie: NumPy stores members uncompressed unless told otherwise."""

from __future__ import annotations

import errno
import io
import struct
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput

LOCAL_HEADER = 30
"""Bytes of a zip entry's fixed header; lengths of name and extra field are its last two 16-bit words."""
LONGEST = 1 << 16
"""Bytes of an array's header, far more than a plain array's has."""

DAMAGE = (zipfile.BadZipFile, ValueError, TypeError, SyntaxError, TokenError, IndexError, OverflowError,
          NotImplementedError, RuntimeError, EOFError, struct.error)  # fmt: skip
"""What zipfile and NumPy raise over bytes that make no sense."""


@dataclass(frozen=True)
class Member:
    """An array of an `.npz`."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    """Byte in the file at which the values begin."""
    crc: int


def members(path: Path) -> dict[str, Member]:
    """The arrays of an `.npz` by name. `BadInput` when it is damaged, compressed or not of plain arrays."""
    found = {}
    try:
        with zipfile.ZipFile(path) as archive, path.open("rb") as file:
            for info in archive.infolist():
                if info.compress_type != zipfile.ZIP_STORED:
                    hint = "save it with numpy.savez, not savez_compressed"
                    raise BadInput.of("npz-compressed", f"{info.filename} is compressed", where=str(path), hint=hint)
                member = _member(file, info)
                if member.offset + int(np.prod(member.shape)) * member.dtype.itemsize > path.stat().st_size:
                    raise BadInput.of("npz-truncated", f"{info.filename} is cut short", where=str(path))
                found[member.name] = member
    except DAMAGE as error:
        raise _damaged(path, error) from error
    except OSError as error:
        if error.errno == errno.EINVAL:  # a place before the file's begin
            raise _damaged(path, error) from error
        raise
    return found


def _damaged(path: Path, error: Exception) -> BadInput:
    return BadInput.of("npz-damaged", f"not a readable npz: {error}", where=str(path), hint="download it again")


def _member(file: Any, info: zipfile.ZipInfo) -> Member:
    file.seek(info.header_offset)
    name_length, extra_length = struct.unpack("<HH", file.read(LOCAL_HEADER)[26:30])
    file.seek(info.header_offset + LOCAL_HEADER + name_length + extra_length)
    start = file.tell()
    lead = file.read(12)
    length = struct.unpack("<H", lead[8:10])[0] + 10 if lead[6] == 1 else struct.unpack("<I", lead[8:12])[0] + 12
    file.seek(start)
    shape, fortran, dtype = _parsed(file.read(min(length, LONGEST)))
    if fortran or dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{info.filename} is not a plain row-major array")
    return Member(info.filename.removesuffix(".npy"), dtype, shape, start + length, info.CRC)


@lru_cache(4096)
def _parsed(header: bytes) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, order and type of an array. NumPy compiles every header as Python, and a pool's shards have the same."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def map_member(path: Path, member: Member) -> npt.NDArray[Any]:
    """The array, mapped read-only."""
    if 0 in member.shape:
        return np.empty(member.shape, member.dtype)
    return np.memmap(path, member.dtype, "r", member.offset, member.shape)
