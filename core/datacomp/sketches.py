"""Bottom-k sketches of subsets: the smallest hashes of their uids, from which overlaps are estimated (Broder 1997).

A hash is uniform and the same everywhere, so the smallest hashes of a union are a fair sample of it, and the share of
them that both subsets have estimates the Jaccard index J with a standard error of sqrt(J (1 - J) / k). Subsets of at
most k different uids are kept whole, and compared exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datacomp.problems import BadInput
from datacomp.uids import Uids, halves

SIZE = 4096
"""Hashes of a sketch; 32 KiB."""
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Sketch:
    """The smallest hashes of a subset's different uids, ascending."""

    hashes: Hashes

    @property
    def whole(self) -> bool:
        """Whether these are all."""
        return self.hashes.size < SIZE

    def to_bytes(self) -> bytes:
        """Little-endian 64-bit words."""
        return self.hashes.astype("<u8").tobytes()

    @classmethod
    def of_bytes(cls, content: bytes) -> Sketch:
        """From `to_bytes`; `BadInput` for anything else."""
        if len(content) % 8 or len(content) > 8 * SIZE:
            raise BadInput.of("sketch-format", f"{len(content):,} bytes are no sketch")
        hashes = np.frombuffer(content, "<u8").astype(np.uint64)
        if (hashes[1:] <= hashes[:-1]).any():
            raise BadInput.of("sketch-format", "its hashes do not ascend")
        return cls(hashes)


@dataclass(frozen=True)
class Overlap:
    """An estimate of the Jaccard index of two subsets."""

    jaccard: float
    error: float
    """Its standard error; 0 where it is exact."""


def sketch_of(uids: Uids) -> Sketch:
    """The sketch of a subset, sorted or not; repeats count once."""
    high, low = halves(uids).T
    hashes = _mixed(high ^ _mixed(low))
    most = SIZE
    while hashes.size > most:  # more are looked at where repeats leave too few
        smallest = np.unique(np.partition(hashes, most)[: most + 1])
        if smallest.size >= SIZE:
            return Sketch(smallest[:SIZE])
        most *= 4
    return Sketch(np.unique(hashes)[:SIZE])


def _mixed(words: Hashes) -> Hashes:
    """SplitMix64's output function: a bijection of 64-bit words."""
    words = (words ^ (words >> np.uint64(30))) * _MIX_1
    words = (words ^ (words >> np.uint64(27))) * _MIX_2
    return words ^ (words >> np.uint64(31))


def overlap_of(one: Sketch, other: Sketch) -> Overlap:
    """The estimated Jaccard index; 0 for two empty subsets."""
    ends = [sketch.hashes[-1] for sketch in (one, other) if not sketch.whole]
    a, b = one.hashes, other.hashes
    if ends:  # beyond the nearer end one of them is not known
        a, b = a[a <= min(ends)], b[b <= min(ends)]
    shared = int(np.intersect1d(a, b, assume_unique=True).size)
    union = a.size + b.size - shared
    jaccard = shared / union if union else 0.0
    return Overlap(jaccard, math.sqrt(jaccard * (1 - jaccard) / union) if ends and union else 0.0)
