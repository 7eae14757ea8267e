"""Basic filter: English captions of more than two words and five characters, images neither tiny nor extreme.

DataComp's baseline of that name (Gadre et al. 2023, arXiv:2304.14108): fastText's lid.176 says `en`, more than two
whitespace words, more than five characters, the smaller side at least 200 pixels, sides at most 3 to 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.uids import release


class BasicFilter(Filter):
    """Keeps rows that pass every simple rule."""

    any_order = True

    columns = ("lang", "words", "characters", "original_width", "original_height")

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row passes."""
        kept = pool.is_text("lang", "en")
        words, characters, width, height = (pool.column(name) for name in self.columns[1:])
        for rows in pool.blocks():
            kept[rows] &= (words[rows] > 2) & (characters[rows] > 5) & well_shaped(width[rows], height[rows])
            for column in (words, characters, width, height):
                release(column)
        return kept


def well_shaped(width: npt.NDArray[Any], height: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Smaller side of 200 pixels or more, larger side at most three times as long; unknown sides (NaN, 0) are not."""
    smaller, larger = np.minimum(width, height), np.maximum(width, height)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((smaller >= 200) & (np.divide(larger, smaller, dtype=np.float64) <= 3.0))
