"""Functions that selection rules get from this package: entry-point group `datacomp.functions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datacomp.filtering.functions import Function, Parameter


def _load_dedup() -> Callable[..., Any]:
    from datacomp_filters.neardup.over_pool import dedup

    return dedup


dedup = Function(
    (
        Parameter("threshold", "number", needed=False),
        Parameter("rank", "column", needed=False),
        Parameter("keep", "word", needed=False),
        Parameter("feature", "word", needed=False),
        Parameter("where", "condition", needed=False),
    ),
    _load_dedup,
)
"""`dedup(0.95, rank=clip_l14_similarity_score, keep=greedy, feature=l14_img, where=lang == 'en')`."""
