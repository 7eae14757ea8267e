"""A subset as a bitmap over its pool: what is sent in place of an npy file where both sides have the pool.

38 million uids of a pool of 128 million are 608 MB as npy and 16 MB as a bitmap. It stands for exactly one npy file,
which `expand` gives back byte for byte. The format is described in docs/formats.md; everything here works window by
window, so that memory does not grow with the pool.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import numpy.typing as npt

from datacomp.digests import BLOCK
from datacomp.pool import Pool
from datacomp.problems import BadInput
from datacomp.uids import UID_DTYPE, Uids, bisect, find, release, unknown_problem

SUFFIX = ".bitmap"
MAGIC = b"\x93DCBITS\n"
VERSION = 1
BITS, COUNTS = 0, 1
"""Forms: every uid once, or bits and then how often each uid is in."""
MOST = 255
"""The most repeats of a uid that a byte can tell."""
WINDOW = 1 << 20
"""Positions in memory at a time; divides by 8."""
_HEADER = struct.Struct("<8sHHI32sQQQQ")
_SUM = hashlib.sha256().digest_size
AGAIN = "make the file again: datacomp submit uids.npy --pool DIR"


@dataclass(frozen=True)
class Header:
    """What a bitmap says of itself."""

    pool: str
    """Digest of the pool's uids in ascending order, see `uids_digest`."""
    positions: int
    """Uids of the pool."""
    rows: int
    """Rows of the subset, repeats counted."""
    unique: int
    counted: bool
    """Whether some uid is in it more than once."""

    @property
    def bits(self) -> int:
        """Bytes of the bits."""
        return -(-self.positions // 8)

    @property
    def payload(self) -> int:
        """Bytes between header and checksum."""
        return self.bits + (self.unique if self.counted else 0)

    def pack(self) -> bytes:
        """The header's bytes."""
        form = COUNTS if self.counted else BITS
        numbers = (self.positions, self.rows, self.unique, self.payload)
        return _HEADER.pack(MAGIC, VERSION, form, 0, bytes.fromhex(self.pool), *numbers)


def is_bitmap(path: Path) -> bool:
    """Whether a file begins as a bitmap does."""
    with suppress(OSError), path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC
    return False


def uids_digest(pool: Pool) -> str:
    """Names a pool's uids whatever its other columns are: digest of the npy file of all of them in ascending order."""
    column = pool.manifest.column("uid_sorted")
    if column is not None:
        return column.digest
    sha = hashlib.sha256(_npy_header(pool.rows))  # a pack of before there was such a column
    for start in range(0, pool.rows, WINDOW):
        sha.update(np.ascontiguousarray(pool.sorted_uids[start : start + WINDOW]).view(np.uint8).data)
    return sha.hexdigest()


# --- writing


def write(path: Path, subset: Uids, pool: Pool) -> bool:
    """Write a sorted subset of the pool; False, and no file, when a uid repeats more than 255 times.

    `BadInput` when it is empty, or names uids that the pool lacks.
    """
    if not subset.size:
        raise BadInput.of("uids-empty", "the subset holds no uid", hint="a submission needs at least one sample")
    unique, most = 0, 0
    with path.open("wb") as file, TemporaryFile() as counts:
        file.write(bytes(_HEADER.size))
        for found in _counts(subset, pool):
            file.write(np.packbits(found > 0, bitorder="little").tobytes())
            there = found[found > 0]
            unique, most = unique + there.size, max(most, int(there.max(initial=0)))
            counts.write(np.minimum(there, MOST).astype(np.uint8).tobytes())
        header = Header(uids_digest(pool), pool.rows, int(subset.size), unique, counted=most > 1)
        if header.counted:
            counts.seek(0)
            shutil.copyfileobj(counts, file, BLOCK)
        file.seek(0)
        file.write(header.pack())
    if most > MOST:
        path.unlink()
        return False
    with path.open("r+b") as file:
        total = _sum(file, _HEADER.size + header.payload)
        file.seek(0, 2)
        file.write(total)
    return True


def _counts(subset: Uids, pool: Pool) -> Iterator[npt.NDArray[np.int64]]:
    """How often each uid of the pool is in the subset, in windows of the pool's ascending uids."""
    ordered = pool.sorted_uids
    unknown: list[npt.NDArray[np.int64]] = []
    start = 0
    for begin in range(0, pool.rows, WINDOW):
        window = ordered[begin : begin + WINDOW]
        after = ordered[begin + WINDOW : begin + WINDOW + 1]
        stop = int(bisect(after, subset)[0]) if after.size else int(subset.size)
        found = np.zeros(window.size, np.int64)
        for at in range(start, stop, WINDOW):
            part = np.asarray(subset[at : min(at + WINDOW, stop)])
            places = find(part, window)
            unknown.append(np.flatnonzero(places < 0) + at)
            found += np.bincount(places[places >= 0], minlength=window.size)
            release(subset)
        start = stop
        pool.release()
        yield found
    missing = np.concatenate(unknown) if unknown else np.arange(subset.size)
    if missing.size:
        raise BadInput(unknown_problem(missing, subset))


# --- reading


def verify(path: Path) -> Header:
    """Read a whole bitmap and return what it says of itself. `BadInput` (`bitmap-...`) for anything that is not as
    `write` would have written it."""
    header = read_header(path)
    with path.open("rb") as file:
        total = _sum(file, _HEADER.size + header.payload)
        if file.read(_SUM) != total:
            raise _bad("checksum", "the checksum does not fit the content", path, "send the file again")
        unique = sum(int(np.count_nonzero(window)) for window in _windows(path, header))
        if unique != header.unique:
            raise _bad("counts", f"{unique:,} bits are set, the header says {header.unique:,}", path)
        rows = _sum_of_counts(path, header) if header.counted else unique
    if rows != header.rows:
        raise _bad("counts", f"it holds {rows:,} rows, the header says {header.rows:,}", path)
    return header


def read_header(path: Path) -> Header:
    """The header, as far as it can be checked without the rest."""
    with path.open("rb") as file:
        start = file.read(_HEADER.size)
    if len(start) < _HEADER.size or start[: len(MAGIC)] != MAGIC:
        raise _bad("header", "this does not begin as a bitmap does", path)
    _, version, form, reserved, pool, positions, rows, unique, payload = _HEADER.unpack(start)
    if version != VERSION or form not in {BITS, COUNTS} or reserved:
        raise _bad("header", f"version {version}, form {form} is not known here", path)
    header = Header(pool.hex(), positions, rows, unique, counted=form == COUNTS)
    if not rows:
        raise BadInput.of("uids-empty", "the subset holds no uid", path.name, "a submission needs at least one sample")
    if unique > positions or not (rows > unique if header.counted else rows == unique):
        message = f"{rows:,} rows, {unique:,} of them different, do not go with {positions:,} uids and form {form}"
        raise _bad("header", message, path)
    size, expected = path.stat().st_size, _HEADER.size + header.payload + _SUM
    if payload != header.payload or size != expected:
        raise _bad("length", f"the file has {size:,} bytes, its header means {expected:,}", path)
    return header


def expand(path: Path, pool: Pool, to: Path) -> Header:
    """Write the subset that a bitmap stands for as npy, byte for byte as `uids.write_subset` does.

    `BadInput` for a damaged bitmap and for one over another pool (`bitmap-pool`).
    """
    header = verify(path)
    require_pool(header, pool, path)
    with to.open("wb") as out:
        out.write(_npy_header(header.rows))
        with path.open("rb") as counts:
            counts.seek(_HEADER.size + header.bits)
            for number, window in enumerate(_windows(path, header)):
                start = number * WINDOW
                uids = np.asarray(pool.sorted_uids[start : start + window.size])[window]
                if header.counted:
                    uids = np.repeat(uids, np.frombuffer(counts.read(uids.size), np.uint8))
                out.write(np.ascontiguousarray(uids).view(np.uint8).data)
                pool.release()
    return header


def require_pool(header: Header, pool: Pool, path: Path) -> None:
    """`BadInput` unless the bitmap is over just the uids of this pool."""
    known = uids_digest(pool)
    if header.pool != known or header.positions != pool.rows:
        message = (
            f"the bitmap is over another pool: {header.positions:,} uids, digest {header.pool[:16]}; "
            f"this one has {pool.rows:,}, digest {known[:16]}"
        )
        raise _bad("pool", message, path, "send the uids as npy, or make the bitmap over the board's own pool")


def _windows(path: Path, header: Header) -> Iterator[npt.NDArray[np.bool_]]:
    """Which of the pool's ascending uids are in, a window at a time."""
    with path.open("rb") as file:
        file.seek(_HEADER.size)
        for start in range(0, header.positions, WINDOW):
            count = min(WINDOW, header.positions - start)
            octets = np.frombuffer(file.read(-(-count // 8)), np.uint8)
            bits = np.unpackbits(octets, bitorder="little")
            if bits[count:].any():
                raise _bad("trailing", f"bits are set beyond the pool's last uid, {header.positions - 1:,}", path)
            yield bits[:count].view(np.bool_)


def _sum_of_counts(path: Path, header: Header) -> int:
    rows = 0
    with path.open("rb") as file:
        file.seek(_HEADER.size + header.bits)
        left = header.unique
        while left:
            counts = np.frombuffer(file.read(min(left, BLOCK)), np.uint8)
            if not counts.all():
                raise _bad("counts", "a uid whose bit is set has the count 0", path)
            rows += int(counts.sum(dtype=np.int64))
            left -= counts.size
    return rows


def _sum(file: IO[bytes], size: int) -> bytes:
    """SHA-256 of the first `size` bytes; the file is left behind them."""
    file.seek(0)
    sha = hashlib.sha256()
    while size:
        block = file.read(min(size, BLOCK))
        sha.update(block)
        size -= len(block)
    return sha.digest()


def _npy_header(rows: int) -> bytes:
    """As `numpy.save` begins a file of so many uids."""
    start = io.BytesIO()
    header = {"descr": np.lib.format.dtype_to_descr(UID_DTYPE), "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(start, header)
    return start.getvalue()


def _bad(what: str, message: str, path: Path, hint: str = AGAIN) -> BadInput:
    return BadInput.of(f"bitmap-{what}", message, where=path.name, hint=hint)
