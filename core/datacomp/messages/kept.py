"""What a subset keeps of a pool, in bins: for receipts, comparisons and previews."""

from __future__ import annotations

from pydantic import Field

from datacomp.messages.words import Message


class Binned(Message):
    """One property of rows, kept beside the whole pool. The lists have one entry a bin."""

    name: str
    """`language`, `side` (pixels of the shorter side), `words` (of the caption), or the column of a score."""
    bins: list[str]
    """What each bin holds; of scores, where it begins."""
    kept: list[int]
    """Rows kept, repeats counted."""
    pool: list[int]


class Kept(Message):
    """What a selection keeps, in figures."""

    rows_in: int
    """Rows of the pool."""
    rows_kept: int
    """Repeats counted."""
    unique: int
    nan_scores: int = 0
    """Rows that were left out because a score of theirs is NaN."""
    binned: list[Binned]
    kept_uids: list[str] = Field(default_factory=list)
    """A few of the uids that are kept, drawn at random from those with an image."""
    dropped_uids: list[str] = Field(default_factory=list)
    """A few of those that are not."""
