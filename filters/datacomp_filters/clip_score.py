"""CLIP score: pairs whose image and caption a reference CLIP finds alike, above a threshold or the top fraction.

DataComp's baseline (Gadre et al. 2023, arXiv:2304.14108); the idea is LAION's (Schuhmann et al. 2021,
arXiv:2111.02114).
"""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from datacomp.filtering import Filter
from datacomp.pool import Pool
from datacomp.problems import BadInput

ARCHITECTURES = ("b32", "l14")


class ClipScore(Filter):
    """Keeps rows by the similarity of one reference CLIP, `b32` or `l14`."""

    any_order = True

    def __init__(self, arch: str = "l14", threshold: float | None = None, fraction: float | None = None) -> None:
        self.columns = (score_column(arch),)
        self.rule = clip_rule(threshold, fraction)

    def select(self, pool: Pool) -> npt.NDArray[Any]:
        """The similarity score as it stands, not copied."""
        return pool.column(self.columns[0])


def score_column(arch: str) -> str:
    """The pool's column of a reference CLIP's scores. `BadInput` for another architecture."""
    if arch not in ARCHITECTURES:
        raise BadInput.of("filter-parameter", f"no architecture {arch!r}", "arch", f"one of {', '.join(ARCHITECTURES)}")
    return f"clip_{arch}_similarity_score"


def clip_rule(threshold: float | None, fraction: float | None) -> str:
    """The selection rule over `score`. `BadInput` unless exactly one is given, or for a fraction outside 0 to 1."""
    if (threshold is None) == (fraction is None):
        hint = "for instance --fraction 0.3"
        raise BadInput.of("filter-parameter", "give a threshold or a fraction, not both", hint=hint)
    if fraction is None:
        return f"score >= {threshold!r}"
    if not 0 <= fraction <= 1:
        raise BadInput.of("filter-parameter", f"a fraction lies between 0 and 1, not at {fraction:g}", "fraction")
    return f"top_fraction(score, {fraction!r})"
