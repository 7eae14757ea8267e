"""Random subset: a fraction of the pool drawn by hashing uids, so that the draw needs no order and no memory.

DataComp's control (Gadre et al. 2023, arXiv:2304.14108): a smaller pool of the same quality.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter
from datacomp.problems import BadInput
from datacomp_filters.drawing import hashes


class RandomSubset(Filter):
    """Keeps a row when the hash of its uid and the seed falls below the fraction."""

    columns = ("uid",)

    def __init__(self, fraction: float, seed: int = 0) -> None:
        if not 0 <= fraction <= 1:
            raise BadInput.of("filter-parameter", f"a fraction lies between 0 and 1, not at {fraction:g}", "fraction")
        self.fraction, self.seed = fraction, seed

    def score(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Whether each row is drawn."""
        drawn = hashes(batch["uid"], self.seed)
        return np.asarray(drawn.astype(np.float64) < self.fraction * 2.0**64)
