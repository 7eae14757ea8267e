"""Text-based filter: English captions with a word whose first WordNet synset is among ImageNet-21k's.

DataComp's baseline of that name (Gadre et al. 2023, arXiv:2304.14108): fastText's lid.176 says `en`, and the offset of
some whitespace word's first synset is in the list, whatever its part of speech. The column `wordnet_hit` comes from
`datacomp pool ingest DIR --wordnet DICTIONARY --synsets LIST`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool


class TextBased(Filter):
    """Keeps English rows that name a thing of the list."""

    columns = ("lang", "wordnet_hit")

    def select(self, pool: Pool) -> npt.NDArray[np.bool_]:
        """Whether each row is kept."""
        return np.asarray(pool.is_text("lang", "en") & pool.column("wordnet_hit"))
