"""Say here what your method does: this docstring is its public description on the leaderboard.

Copy this file, change it, try it, hand it in:

    datacomp filter my_filter.py --pool DIR --out uids.npy
    datacomp submit my_filter.py --scale tiny
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter


class MyFilter(Filter):
    """Keeps the best 30% by CLIP score, captions in capitals aside."""

    # What you read, and nothing else is loaded. `datacomp pool info DIR` lists columns and features.
    columns = ("text", "clip_l14_similarity_score")
    features = ()

    # Which rows are kept. Without a rule, `score` itself must be bool (kept or not) or an integer (how often).
    rule = "top_fraction(score, 0.3)"

    def score(self, batch: Batch) -> npt.NDArray[np.float32]:
        """One number per row. It may depend on that row alone: batches can be cut anywhere."""
        scores: npt.NDArray[np.float32] = batch["clip_l14_similarity_score"].copy()
        for row, text in enumerate(batch["text"].to_pylist()):
            if text.isupper():
                scores[row] -= 1
        return scores
