"""Tables of scores. They are written once, in the transaction that makes a submission scored."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer
from sqlalchemy.orm import Mapped, mapped_column

from datacomp_server.clock import now
from datacomp_server.database import Base

Counter = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only INTEGER keys by itself."""
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
    """Per task key: `{"value": float | None, "n": int}`, and where the value is known `lo`, `hi` and `variance`, all
    that the finite number of items makes of it."""
    variances: Mapped[dict[str, Any] | None]
    """Sampling variances: `{"average", "main", "groups"}`; null where they were not computed."""


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
    task_values: Mapped[bytes | None]
    """The same values alone, as `columns.pack` packs them: a board is sorted by a task without reading `tasks`."""
    public_average: Mapped[float | None]
    """Means over the tasks that are not private: what the board shows and ranks by until it reveals the others."""
    public_main: Mapped[float | None]
    public_groups: Mapped[dict[str, Any]]
    variances: Mapped[dict[str, Any] | None]
    """Of the means, as of each seed; `tasks` beside them: the bounds of the average if other tasks were drawn."""
    public_variances: Mapped[dict[str, Any] | None]
    sampling_variance: Mapped[float | None]
    """Of the average: the same as in `variances`, for the sweep over all entries."""
    public_sampling_variance: Mapped[float | None]
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


class Ranking(Base):
    """Where a listed entry may well stand, as the last sweep over its board found. Narrow, because a new entry moves
    the ranges of all those below it; an entry without a score has a range from 0 to 0."""

    __tablename__ = "rankings"

    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"), index=True)
    lo: Mapped[int]
    hi: Mapped[int]
    holm_lo: Mapped[int]
    holm_hi: Mapped[int]
    tries: Mapped[int]
    """Entries that its party has had scored on the board, withdrawn ones too."""


class RankSweep(Base):
    """The last sweep over a board, or the one that is at it."""

    __tablename__ = "rank_sweeps"

    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"), primary_key=True)
    number: Mapped[int]
    """Counts up at every beginning; a sweep that finds another number has been overtaken, and writes no more."""
    begun_at: Mapped[datetime | None]
    """Null when none is at it."""
    done_at: Mapped[datetime | None]
    """When the last one that came to its end had looked at the scores."""
    ranked: Mapped[int] = mapped_column(default=0)
    """Entries that it placed."""
    public: Mapped[bool] = mapped_column(default=False)
    """Whether it went by the means without private tasks."""


class RankChange(Base):
    """Something that ranges depend on changed: written in the transaction of the change, removed by the sweep that
    has seen it. A row for each change, so that transactions do not wait for each other."""

    __tablename__ = "rank_changes"

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"), index=True)
