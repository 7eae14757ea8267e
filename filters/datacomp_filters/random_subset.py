"""Random subset: a fraction of the pool drawn by hashing uids, so that the draw needs no order and no memory.

DataComp's control (Gadre et al. 2023, arXiv:2304.14108): a smaller pool of the same quality.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter
from datacomp.problems import BadInput
from datacomp.uids import halves

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
"""Multipliers of the SplitMix64 finaliser (Steele, Lea and Flood 2014)."""


class RandomSubset(Filter):
    """Keeps a row when the hash of its uid and the seed falls below the fraction."""

    columns = ("uid",)

    def __init__(self, fraction: float, seed: int = 0) -> None:
        if not 0 <= fraction <= 1:
            raise BadInput.of("filter-parameter", f"a fraction lies between 0 and 1, not at {fraction:g}", "fraction")
        self.fraction, self.seed = fraction, seed

    def score(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Whether each row is drawn."""
        high, low = halves(batch["uid"]).T
        key = _mix(np.array([self.seed], np.uint64))[0]
        drawn = _mix(high ^ _mix(low ^ key))
        return np.asarray(drawn.astype(np.float64) < self.fraction * 2.0**64)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * _MIX[0]
    value = (value ^ (value >> np.uint64(27))) * _MIX[1]
    mixed: npt.NDArray[np.uint64] = value ^ (value >> np.uint64(31))
    return mixed
