"""Caption and score: English captions that say something, ranked by the agreement of two reference CLIPs.

Captions that are boilerplate (the same few words under very many images) cannot be told from one row alone, but they
are short and poor in different words. Rows whose caption is not English or has fewer than four different words are
dropped; of the rest the best third of the pool by the mean of both similarity scores is kept.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter

FEWEST_WORDS = 4


class CaptionAndScore(Filter):
    """Keeps the best third by mean similarity among captions that say something."""

    columns = ("text", "lang", "clip_b32_similarity_score", "clip_l14_similarity_score")
    rule = "top_fraction(score, 0.3)"

    def score(self, batch: Batch) -> npt.NDArray[np.float32]:
        """Mean similarity; one less for captions that are not English or say little."""
        scores = (batch["clip_b32_similarity_score"] + batch["clip_l14_similarity_score"]) / np.float32(2)
        words = np.array([len(set(caption.lower().split())) for caption in batch["text"].to_pylist()])
        poor = (batch["lang"] != "en") | (words < FEWEST_WORDS)
        return np.where(poor, scores - np.float32(1), scores).astype(np.float32)
