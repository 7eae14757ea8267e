"""Tables of scores. They are written once, in the transaction that makes a submission scored."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from datacomp_server.clock import now
from datacomp_server.database import Base

UNRANKED = 1e300
"""Standing of an entry without an average: after all others."""


def standing_of(average: float | None) -> float:
    """The standing that an average gives; a figure that is not finite gives none."""
    return -average if average is not None and math.isfinite(average) else UNRANKED


class SeedScore(Base):
    """Scores of one evaluation run (one seed)."""

    __tablename__ = "seed_scores"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), index=True)
    seed: Mapped[int]
    suite_digest: Mapped[str]
    records_digest: Mapped[str]
    average: Mapped[float | None]
    main: Mapped[float | None]
    groups: Mapped[dict[str, Any]]
    tasks: Mapped[dict[str, Any]]
    """Per task key: `{"value": float | None, "n": int}`."""


class Score(Base):
    """A submission's scores, mean over seeds."""

    __tablename__ = "scores"
    __table_args__ = (
        Index("ix_scores_standing", "board_name", "listed", "standing", "handed_in_at", "submission_id"),
        Index("ix_scores_public_standing", "board_name", "listed", "public_standing", "handed_in_at", "submission_id"),
    )

    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"))
    average: Mapped[float | None]
    main: Mapped[float | None]
    groups: Mapped[dict[str, Any]]
    tasks: Mapped[dict[str, Any]]
    public_average: Mapped[float | None]
    """Means over the tasks that are not private: what the board shows and ranks by until it reveals the others."""
    public_main: Mapped[float | None]
    public_groups: Mapped[dict[str, Any]]
    standing: Mapped[float]
    """What a board is ordered by, smallest first: minus the average, and `UNRANKED` without one. Never null, because
    databases disagree on where nulls sort; ties go to the entry that was handed in earlier."""
    public_standing: Mapped[float]
    """The same of the public average."""
    handed_in_at: Mapped[datetime]
    listed: Mapped[bool]
    """Whether its board shows it: not a rehearsal, not withdrawn."""
    seeds: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(default=now)
