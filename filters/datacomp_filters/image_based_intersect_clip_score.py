"""Image-based filter within the best by CLIP score: DataComp's strongest baseline at medium scale and up.

DataComp's baseline of that name (Gadre et al. 2023, arXiv:2304.14108), with L/14 scores and a fraction of 0.3. The
fraction is of the whole pool: its threshold is found first, then the image-based rules are applied.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import select
from datacomp.pool import Pool
from datacomp_filters.clip_score import clip_rule, score_column
from datacomp_filters.image_based import ImageBased


class ImageBasedIntersectClipScore(ImageBased):
    """Keeps what `image_based` and `clip_score` both keep."""

    def __init__(
        self,
        targets: str,
        centroids: str,
        arch: str = "l14",
        threshold: float | None = None,
        fraction: float | None = None,
    ) -> None:
        super().__init__(targets, centroids)
        self.scores, self.clip_rule = score_column(arch), clip_rule(threshold, fraction)
        self.columns = (*ImageBased.columns, self.scores)

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row is kept."""
        alike = select(pool, np.asarray(pool.column(self.scores)), self.clip_rule)
        return np.asarray(super().select(pool) & alike.counts)
