"""Plain headers by the hundred: looked at as columns of bytes, so that no header takes steps of Python of its own.

A plain header has a name of digits, letters and dashes in its first field alone, an octal size and the format's mark.
What is not that is left to `entries`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from datacomp.tars.entries import BLOCK

Bytes = npt.NDArray[np.uint8]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

LONGEST = 80
"""Characters of a stem."""
SIZE = slice(124, 135)
"""Where a header has its file's size."""
LOOKED_AT = 352
"""Bytes of a header up to its prefix, which plain ones leave empty, and some more: whole words."""
_WORTH = 8 ** np.arange(10, -1, -1, dtype=np.int64)
_FIXED = ((156, b"0"), (257, b"ustar"), (345, b"\0"))
"""Type, mark and prefix."""


def _table(characters: bytes) -> Flags:
    table = np.zeros(256, np.bool_)
    table[list(characters)] = True
    return table


_IN_STEM = _table(b"-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_IN_HEX = _table(b"0123456789abcdefABCDEF")
_UID = b'{"uid": "'
UID = slice(len(_UID), len(_UID) + 32)
"""Where a json that begins with its uid has that one's digits."""
NAMING = UID.stop + 1
"""Bytes of `{"uid": "..."`."""


def width_of(name: Bytes) -> int:
    """Characters up to the first dot of a name; 0 for what is no plain header's."""
    dot = name[: LONGEST + 1].tobytes().find(b".")
    return max(dot, 0)


def anywhere(buffer: Bytes, length: int) -> npt.NDArray[Any]:
    """A view whose item n is the `length` bytes from byte n on."""
    return np.ndarray((max(buffer.size - length + 1, 0),), f"V{length}", buffer, strides=(1,))


def pieces(buffer: Bytes, at: Places, length: int) -> Bytes:
    """So many bytes from each place on, shape (*at.shape, length). IndexError beyond the end."""
    return anywhere(buffer, length)[at].view(np.uint8).reshape(*at.shape, length)


def after(sizes: Places) -> Places:
    """Bytes from a header to the one after its file."""
    return (sizes + (2 * BLOCK - 1)) & -BLOCK


def sizes_of(digits: Bytes) -> Places:
    """What octal digits say, shape (..., 11) to (...)."""
    sizes: Places = (digits & 7) @ _WORTH
    return sizes


class Apart(NamedTuple):
    """Samples that lie one after another in a buffer, taken apart."""

    at: Places
    """Where in the buffer each header stands, shape (n, files)."""
    sizes: Places
    """Bytes of each file, shape (n, files)."""
    heads: Bytes
    """The headers, shape (n, files, `LOOKED_AT`)."""


def take_apart(buffer: Bytes, bounds: Places, shape: tuple[str, ...]) -> Apart | None:
    """The samples between bounds, shape (n + 1,), if all have this shape, in plain headers, and nothing beside it."""
    at, stops, found = bounds[:-1], bounds[1:], []
    for _ in shape:
        if (at + BLOCK > stops).any():
            return None
        found.append(at)
        at = at + after(sizes_of(pieces(buffer, at + SIZE.start, SIZE.stop - SIZE.start)))
    if (at != stops).any():
        return None
    places = np.stack(found, 1)
    heads = pieces(buffer, places, LOOKED_AT)
    if not plain(heads, shape, width_of(heads[0, 0])).all():
        return None
    return Apart(places, sizes_of(heads[:, :, SIZE]), heads)


def plain(heads: Bytes, shape: tuple[str, ...], width: int) -> Flags:
    """Whether headers are plain ones of files of one sample each: (n, files, `LOOKED_AT`) to (n,).

    The files have the extensions of `shape`; the stem, common to them all, has `width` characters.
    """
    if not 0 < width <= LONGEST:
        return np.zeros(len(heads), np.bool_)
    expected, mask = _form(shape, width)
    differences = (heads.view(np.uint64) ^ expected) & mask
    stems = heads[:, :, :width]
    found: Flags = np.logical_not(differences.any((1, 2)))
    found &= _IN_STEM[stems[:, 0]].all(1)
    found &= (stems[:, 1:] == stems[:, :1]).all((1, 2))
    return found


@lru_cache
def _form(shape: tuple[str, ...], width: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """What plain headers of a shape have in common, and the bits that it takes up: (files, words) each."""
    expected, mask = np.zeros((2, len(shape), LOOKED_AT), np.uint8)
    for k, extension in enumerate(shape):
        ending = f".{extension}\0".encode("utf-8", "surrogateescape")
        for at, content in ((width, ending), *_FIXED):
            expected[k, at : at + len(content)] = list(content)
            mask[k, at : at + len(content)] = 0xFF
    expected[:, SIZE], mask[:, SIZE] = ord("0"), 0xF8  # 0 to 7 differ in the lowest three bits alone
    return expected.view(np.uint64), mask.view(np.uint64)


def naming_of(digits: Bytes) -> Bytes:
    """How jsons begin that begin with uids of these digits: (n, 32) to (n, `NAMING`)."""
    about = np.empty((len(digits), NAMING), np.uint8)
    about[:, : UID.start], about[:, UID], about[:, UID.stop] = list(_UID), digits, ord('"')
    return about


def naming(about: Bytes) -> Flags:
    """Whether each json's first `NAMING` bytes name a uid: (n, `NAMING`) to (n,)."""
    named: Flags = (about[:, : UID.start] == list(_UID)).all(1) & (about[:, UID.stop] == ord('"'))
    named &= _IN_HEX[about[:, UID]].all(1)
    return named
