"""SemDeDup: of images that lie near one another in a CLIP's space, one stays.

Abbas et al. 2023 (arXiv:2303.09540), whose rule is `keep=semdedup`: a row goes when any better-ranked row is near it.
Where the authors' code differs: it ranks by distance from the k-means centroid, the farthest first, where `rank` is a
column here, the similarity score unless another is named; it removes above 1 - eps, here a cosine equal to the
threshold counts as near; it compares within a row's one cell, here within several, so that fewer duplicates slip
through. A different `keep` gives the other rules of this platform.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool


class SemDeDup(Filter):
    """Keeps rows that no better-ranked row is near, by the cosine of a feature."""

    def __init__(
        self,
        threshold: float = 0.95,
        feature: str = "l14_img",
        rank: str = "clip_l14_similarity_score",
        keep: str = "semdedup",
    ) -> None:
        self.threshold, self.keep = threshold, keep
        self.columns, self.features = (rank,), (feature,)

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row stays."""
        from datacomp_filters.neardup.over_pool import dedup

        rank = pool.column(self.columns[0])
        return dedup(pool, self.threshold, rank=rank, keep=self.keep, feature=self.features[0])
