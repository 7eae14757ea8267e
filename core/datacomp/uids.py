"""Uids: the only code that packs, reads, writes, checks or looks up sample ids.

A uid is 128 bits. In parquet it is 32 lower-case hex digits; in a subset file it is `numpy.dtype("u8,u8")`, the high
and the low half, sorted lexicographically, repeats allowed (DataComp's format). Here arrays always have that dtype and
shape (n,).
"""

from __future__ import annotations

import binascii
import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput, Problem, raise_if_any

if TYPE_CHECKING:
    import pyarrow as pa

UID_DTYPE = np.dtype("u8,u8")
CHUNK = 1 << 20
SHOWN = 10
"""How many positions an error lists."""

Uids = npt.NDArray[Any]
_HEX = np.frombuffer(b"0123456789abcdef", np.uint8)


def from_hex(strings: list[str] | pa.Array | pa.ChunkedArray) -> Uids:
    """Pack hex strings into uids, shape (n,), in the given order. `BadInput` gives the first bad rows."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(strings, list):
        strings = pa.array(strings, pa.string())
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
    n = len(strings)
    lengths = np.asarray(pc.binary_length(strings.fill_null("")), dtype=np.int64)
    _require_rows(lengths == 32, "uid-malformed", "a uid has 32 hex digits", strings)
    text = _bytes_of(strings.cast(pa.large_string()), n * 32)
    try:
        packed = binascii.a2b_hex(text.data)
    except binascii.Error:
        digits = ((text - np.uint8(48) < 10) | ((text | 32) - np.uint8(97) < 6)).reshape(n, 32)
        _require_rows(digits.all(axis=1), "uid-malformed", "a uid has only hex digits", strings)
        raise
    return np.frombuffer(packed, ">u8").astype("<u8").view(UID_DTYPE)


def _bytes_of(strings: pa.Array, size: int) -> npt.NDArray[np.uint8]:
    """The bytes of an array of large strings, `size` in all."""
    if not size:
        return np.empty(0, np.uint8)
    _, offsets, data = strings.buffers()
    start = int(np.frombuffer(offsets, np.int64, 1, strings.offset * 8)[0])
    return np.frombuffer(data, np.uint8, size, start)


def from_digits(digits: bytes) -> Uids:
    """Pack uids that stand one after another, 32 hex digits each, shape (n,). ValueError when they are no digits."""
    return np.frombuffer(bytes.fromhex(digits.decode("ascii")), ">u8").astype("<u8").view(UID_DTYPE)


def _require_rows(good: Any, code: str, message: str, strings: pa.Array) -> None:
    if not good.all():
        rows = np.flatnonzero(~good)
        examples = ", ".join(f"row {r}: {strings[int(r)].as_py()!r}" for r in rows[:3])
        raise BadInput.of(code, f"{message}; {rows.size:,} rows do not ({examples})", where=f"row {rows[0]}")


def to_hex(uids: Uids) -> list[str]:
    """32 lower-case hex digits per uid."""
    if not uids.size:
        return []
    return [str(s) for s in to_digits(uids).view("S32").reshape(-1).astype("U32")]


def to_digits(uids: Uids) -> npt.NDArray[np.uint8]:
    """The lower-case hex digits as bytes, shape (n, 32)."""
    octets = np.ascontiguousarray(halves(uids).astype(">u8")).view(np.uint8).reshape(uids.size, 16)
    digits = np.empty((uids.size, 32), np.uint8)
    digits[:, ::2], digits[:, 1::2] = _HEX[octets >> 4], _HEX[octets & 15]
    return digits


def halves(uids: Uids) -> npt.NDArray[np.uint64]:
    """The uids as (n, 2) unsigned integers: high, low."""
    return np.ascontiguousarray(uids).view("<u8").reshape(-1, 2)


def order(uids: Uids) -> npt.NDArray[np.int64]:
    """Stable permutation that sorts the uids."""
    high, low = halves(uids).T
    # Sorted by the upper bits of the high half with the row in place of the lower: twice as fast as an argsort.
    bits = np.uint64(uids.size.bit_length())
    keys = high >> bits << bits
    keys |= np.arange(uids.size, dtype=np.uint64)
    keys.sort()
    found: npt.NDArray[np.int64] = (keys & ~(~np.uint64(0) << bits)).astype(np.int64)
    keys >>= bits
    ties = keys[1:] == keys[:-1]
    if ties.any():  # few, unless uids are not random; then their other bits matter
        among = np.flatnonzero(np.append(ties, False) | np.append(False, ties))
        rows = found[among]
        found[among] = rows[np.lexsort((low[rows], high[rows]))]
    return found


def sort(uids: Uids) -> Uids:
    """A sorted copy."""
    return uids[order(uids)]


def descents(uids: Uids) -> npt.NDArray[np.int64]:
    """Rows i (1-based on the left neighbour) with uids[i] < uids[i - 1]; empty when sorted."""
    high, low = halves(uids).T
    falls = (high[1:] < high[:-1]) | ((high[1:] == high[:-1]) & (low[1:] < low[:-1]))
    return np.flatnonzero(falls) + 1


def repeats(sorted_uids: Uids) -> int:
    """How many rows of a sorted array equal their left neighbour."""
    high, low = halves(sorted_uids).T
    same = np.flatnonzero(high[1:] == high[:-1])  # hardly any
    return int((low[same + 1] == low[same]).sum())


def find(needles: Uids, sorted_uids: Uids) -> npt.NDArray[np.int64]:
    """Position of each needle in a sorted array, -1 where it is absent; the first where it repeats. See `place`."""
    at = place(needles, sorted_uids)
    for start in range(0, needles.size, WINDOW):
        own, here = halves(needles[start : start + WINDOW]), at[start : start + WINDOW]
        inside = here < sorted_uids.size
        there = halves(sorted_uids).take(here[inside], axis=0)
        same = np.zeros(len(own), np.bool_)
        same[inside] = (own[inside, 0] == there[:, 0]) & (own[inside, 1] == there[:, 1])
        here[~same] = -1
    return at


def place(needles: Uids, sorted_uids: Uids) -> npt.NDArray[np.int64]:
    """How many rows of a sorted array are smaller than each needle: `numpy.searchsorted` for uids.

    Sorted needles are merged with the array in one pass, few needles bisect it: neither copies it, so it may be mapped
    and larger than memory.
    """
    at = np.empty(needles.size, np.int64)
    for part, begin, end in _windows(needles, sorted_uids):
        window, own = sorted_uids[begin:end], needles[part]
        search = bisect if own.size * FEW < window.size else _first_of_high
        at[part] = search(own, window) + begin
    return at


FEW = 64
"""An array this many times as long as the needles is bisected; below that, its high halves are worth a copy."""
WINDOW = 1 << 18


def _windows(needles: Uids, sorted_uids: Uids) -> Iterator[tuple[slice, int, int]]:
    """Parts of the needles, and for each begin and end of the array between which its needles can lie."""
    if needles.size < FEW or _scan_descents(needles)[1]:
        yield slice(0, needles.size), 0, sorted_uids.size
        return
    for start in range(0, needles.size, WINDOW):
        part = slice(start, min(start + WINDOW, needles.size))
        begin = int(bisect(needles[part.start : part.start + 1], sorted_uids)[0])
        end = int(bisect(needles[part.stop - 1 : part.stop], sorted_uids, "right")[0])
        yield part, begin, end


def _first_of_high(needles: Uids, window: Uids) -> npt.NDArray[np.int64]:
    """As `bisect`, by the high halves: low ones decide only where those are equal."""
    haystack = halves(window)
    high = np.ascontiguousarray(haystack[:, 0])
    own = halves(needles)
    at = np.searchsorted(high, np.ascontiguousarray(own[:, 0]))
    if high.size:
        there = haystack.take(np.minimum(at, high.size - 1), axis=0)
        behind = np.flatnonzero((there[:, 0] == own[:, 0]) & (there[:, 1] < own[:, 1]))
        at[behind] = bisect(needles[behind], window)
    return at


def bisect(needles: Uids, sorted_uids: Uids, side: str = "left") -> npt.NDArray[np.int64]:
    """As `numpy.searchsorted`, over both halves and without a copy of the array: shape (needles,)."""
    pairs, own = halves(sorted_uids), halves(needles)
    low = np.zeros(needles.size, np.int64)
    high = np.full(needles.size, len(pairs), np.int64)
    for _ in range(len(pairs).bit_length()):
        middle = (low + high) >> 1
        there = pairs[np.minimum(middle, len(pairs) - 1)]
        equal = there[:, 0] == own[:, 0]
        less = there[:, 1] <= own[:, 1] if side == "right" else there[:, 1] < own[:, 1]
        up = (low < high) & ((there[:, 0] < own[:, 0]) | (equal & less))
        low = np.where(up, middle + 1, low)
        high = np.where(up, high, middle)
    return low


def release(array: npt.NDArray[Any]) -> None:
    """Let go of the memory through which a mapped file was read; nothing for an array that is not mapped."""
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def write_subset(path: Path, uids: Uids) -> None:
    """Write sorted uids as npy, as DataComp's tools do. `BadInput` when they are not sorted."""
    if descents(uids).size:
        raise BadInput.of(
            "uids-unsorted", "a subset file holds sorted uids", where=str(path), hint="call uids.sort first"
        )
    with path.open("wb") as file:
        np.save(file, uids.astype(UID_DTYPE, copy=False), allow_pickle=False)


def open_subset(path: Path) -> Uids:
    """Map a subset file (npy, or a raw memmap of `u8,u8`) without reading it.

    `BadInput` says what is wrong with the header: `uids-missing`, `uids-dtype`, `uids-shape`, `uids-object`,
    `uids-truncated`, `uids-format`.
    """
    if not path.is_file():
        raise BadInput.of("uids-missing", "there is no such file", where=str(path))
    with path.open("rb") as file:
        magic = file.read(6)
    if magic != b"\x93NUMPY":
        return _open_raw(path)
    try:
        array: Uids = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # NumPy's reader of headers lets out whatever its parts raise, TokenError among it
        raise _header_error(path, error) from error
    header = f"{path.name}: header"
    if array.dtype != UID_DTYPE:
        hint = "pack each uid as (int(uid[:16], 16), int(uid[16:32], 16)) with numpy.dtype('u8,u8')"
        raise BadInput.of("uids-dtype", f"the array's dtype is {array.dtype}, not u8,u8", where=header, hint=hint)
    if array.ndim != 1:
        raise BadInput.of("uids-shape", f"the array has shape {array.shape}; one axis is expected", where=header)
    return array


def _open_raw(path: Path) -> Uids:
    size = path.stat().st_size
    if size % UID_DTYPE.itemsize:
        message = f"neither npy nor a raw array of 16-byte uids: {size:,} bytes do not divide by 16"
        raise BadInput.of("uids-format", message, where=path.name, hint="write the array with numpy.save")
    return np.memmap(path, UID_DTYPE, "r") if size else np.empty(0, UID_DTYPE)


def _header_error(path: Path, error: Exception) -> BadInput:
    text = str(error)
    if "pickle" in text.lower() or "object" in text.lower():
        message = "the array holds Python objects, which are never unpickled"
        hint = "save uids with numpy.dtype('u8,u8'), not as strings or objects"
        return BadInput.of("uids-object", message, where=f"{path.name}: header", hint=hint)
    if "mmap length" in text or "reshape" in text or isinstance(error, EOFError):
        message = f"the file is shorter than its header says ({path.stat().st_size:,} bytes)"
        return BadInput.of("uids-truncated", message, where=path.name, hint="write or upload the file again")
    hint = "write the array with numpy.save"
    return BadInput.of("uids-format", f"not a readable npy file: {text}", where=path.name, hint=hint)


def check_subset(uids: Uids) -> list[Problem]:
    """Problems of the array itself (empty, unsorted), found in one streaming pass with bounded memory."""
    if not uids.size:
        return [
            Problem(code="uids-empty", message="the subset holds no uid", hint="a submission needs at least one sample")
        ]
    first, count = _scan_descents(uids)
    if not count:
        return []
    message = f"{count:,} rows are smaller than the row before them"
    hint = "sort with numpy.sort(uids) before saving; repeats are allowed"
    return [Problem(code="uids-unsorted", message=message, where=f"row {first}", hint=hint)]


def _scan_descents(uids: Uids) -> tuple[int, int]:
    first, count = -1, 0
    for start in range(0, uids.size, CHUNK):
        begin = max(start - 1, 0)
        falls = descents(np.asarray(uids[begin : start + CHUNK])) + begin
        if falls.size and first < 0:
            first = int(falls[0])
        count += falls.size
        release(uids)
    return first, count


def read_subset(path: Path) -> Uids:
    """Open and check a subset file; `BadInput` lists all problems."""
    uids = open_subset(path)
    found = check_subset(uids)
    places = [f"{path.name}: {problem.where}" if problem.where else path.name for problem in found]
    raise_if_any([p.at(place) for p, place in zip(found, places, strict=True)])
    return uids


def unknown_problem(positions: npt.NDArray[np.int64], uids: Uids) -> Problem:
    """The problem of uids that the pool does not have, with the first positions."""
    shown = ", ".join(f"row {p} ({to_hex(np.asarray(uids[int(p) : int(p) + 1]))[0]})" for p in positions[:SHOWN])
    more = f" and {positions.size - SHOWN:,} more" if positions.size > SHOWN else ""
    return Problem(
        code="uids-unknown",
        message=f"{positions.size:,} uids are not in the pool: {shown}{more}",
        where=f"row {positions[0]}",
        hint="a filtering submission may only name samples of its board's pool",
    )
