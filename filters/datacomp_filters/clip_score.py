"""CLIP score: pairs whose image and caption a reference CLIP finds alike, above a threshold or the top fraction.

DataComp's baseline (Gadre et al. 2023, arXiv:2304.14108); the idea is LAION's (Schuhmann et al. 2021,
arXiv:2111.02114).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datacomp.filtering import Batch, Filter
from datacomp.problems import BadInput

ARCHITECTURES = ("b32", "l14")


class ClipScore(Filter):
    """Keeps rows by the similarity of one reference CLIP, `b32` or `l14`."""

    def __init__(self, arch: str = "l14", threshold: float | None = None, fraction: float | None = None) -> None:
        if arch not in ARCHITECTURES:
            raise BadInput.of("filter-parameter", f"no architecture {arch!r}", "arch", f"one of {ARCHITECTURES}")
        if (threshold is None) == (fraction is None):
            hint = "for instance --fraction 0.3"
            raise BadInput.of("filter-parameter", "give a threshold or a fraction, not both", hint=hint)
        self.column = f"clip_{arch}_similarity_score"
        self.columns = (self.column,)
        self.rule = f"score >= {threshold!r}" if threshold is not None else f"top_fraction(score, {fraction!r})"

    def score(self, batch: Batch) -> npt.NDArray[np.floating]:
        """The similarity score as it stands."""
        scores: npt.NDArray[np.floating] = batch[self.column]
        return scores
