"""No filter: the whole pool. DataComp's first baseline (Gadre et al. 2023, arXiv:2304.14108)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool


class NoFilter(Filter):
    """Keeps every row."""

    any_order = True

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """True for every row."""
        return np.broadcast_to(np.True_, (pool.rows,))
