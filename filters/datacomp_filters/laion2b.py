"""LAION-2B's rule: captions that CLD3 takes for English, with a CLIP ViT-B/32 score of 0.28 or more.

DataComp's baseline `laion2b` (Gadre et al. 2023, arXiv:2304.14108) after LAION-5B (Schuhmann et al. 2022,
arXiv:2210.08402). The language is CLD3's, column `lang_cld3`. Another detector's column can be named
(`--language lang` is fastText's); the result is then near the original's, not the same.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool

SCORE = "clip_b32_similarity_score"
THRESHOLD = 0.28


class Laion2b(Filter):
    """Keeps English rows with a good score."""

    any_order = True

    def __init__(self, language: str = "lang_cld3") -> None:
        self.language = language
        self.columns = (language, SCORE)

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row is kept; a score of NaN is below any threshold."""
        return np.asarray(pool.is_text(self.language, "en") & (pool.column(SCORE) >= THRESHOLD))
