"""The table of published rows. It has nothing to do with submissions and scores, so that nothing can rank it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index
from sqlalchemy.orm import Mapped, mapped_column

from datacomp.messages import Track
from datacomp_server.clock import now
from datacomp_server.database import Base, enum_column


class PublishedScore(Base):
    """One row of a paper's table."""

    __tablename__ = "published_scores"
    __table_args__ = (Index("ix_published_scores_scale", "scale", "track", "suite"),)

    key: Mapped[str] = mapped_column(primary_key=True)
    """Digest of what the row is of: source, track, suite, scale, method and samples seen."""
    track: Mapped[Track] = mapped_column(enum_column(Track))
    scale: Mapped[str]
    suite: Mapped[str]
    method: Mapped[str]
    dataset_size: Mapped[int | None] = mapped_column(BigInteger)
    samples_seen: Mapped[int] = mapped_column(BigInteger)
    train_macs: Mapped[float | None]
    average: Mapped[float | None]
    main: Mapped[float | None]
    groups: Mapped[dict[str, Any]]
    tasks: Mapped[dict[str, Any]]
    source: Mapped[str]
    citation: Mapped[str]
    note: Mapped[str]
    same_recipe: Mapped[bool]
    imported_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
