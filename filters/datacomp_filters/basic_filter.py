"""Basic filter: English captions of more than two words and five characters, images neither tiny nor extreme.

DataComp's baseline of that name (Gadre et al. 2023, arXiv:2304.14108): fastText's lid.176 says `en`, more than two
whitespace words, more than five characters, the smaller side at least 200 pixels, sides at most 3 to 1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter


class BasicFilter(Filter):
    """Keeps rows that pass every simple rule."""

    columns = ("lang", "words", "characters", "original_width", "original_height")

    def score(self, batch: Batch) -> npt.NDArray[np.bool_]:
        """Whether each row passes."""
        caption = (batch["lang"] == "en") & (batch["words"] > 2) & (batch["characters"] > 5)
        width, height = (batch[name].astype(np.float64) for name in ("original_width", "original_height"))
        smaller, larger = np.minimum(width, height), np.maximum(width, height)
        with np.errstate(divide="ignore", invalid="ignore"):
            shape = (smaller >= 200) & (larger / smaller <= 3.0)
        return np.asarray(caption & shape)
