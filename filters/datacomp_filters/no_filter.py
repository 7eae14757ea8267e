"""No filter: the whole pool. DataComp's first baseline (Gadre et al. 2023, arXiv:2304.14108)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter


class NoFilter(Filter):
    """Keeps every row."""

    def score(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """True for every row."""
        return np.ones(len(batch), np.bool_)
