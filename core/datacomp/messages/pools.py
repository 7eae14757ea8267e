"""What a pool contains, and what an expression would keep of it."""

from __future__ import annotations

from pydantic import Field

from datacomp.messages.kept import Kept
from datacomp.messages.words import Digest, Message


class Counted(Message):
    """One property of a pool's rows, in bins. The lists have one entry a bin."""

    name: str
    """As in `Binned`."""
    bins: list[str]
    rows: list[int]


class ClustersOut(Message):
    """How the pool's rows spread over its clusters."""

    clusters: int
    """Those that have rows."""
    smallest: int
    median: int
    largest: int


class PoolOut(Message):
    """A board's pool. Without a copy of it here, only its name, and what the board says of it, are known."""

    name: str
    digest: Digest | None = None
    rows: int | None = None
    here: bool
    """Whether this server has a copy."""
    why: str = ""
    """Why not, and what to do."""
    with_image: int | None = None
    """Rows whose image is here."""
    removed: int = 0
    """Uids that were removed from the pool on request: not trained with, and never shown."""
    columns: list[str] = Field(default_factory=list)
    """What expressions may name."""
    counted: list[Counted] = Field(default_factory=list)
    """Languages, scores, sizes and words, where the pool has the columns."""
    clusters: ClustersOut | None = None
    same_image: int | None = None
    """Rows whose image, by its hash, an earlier row has too."""
    same_caption: int | None = None
    """Rows whose caption an earlier row has too."""
    near_evaluation: int | None = None
    """Rows at a cosine of at least `near_threshold` to an evaluation image, if the pool knows."""
    near_threshold: float | None = None


class PreviewIn(Message):
    """An expression to try. It is evaluated, never kept."""

    expression: str = Field(min_length=1)


class PreviewOut(Message):
    """What an expression would keep."""

    board: str
    pool_digest: Digest
    expression: str
    kept: Kept
    seconds: float
