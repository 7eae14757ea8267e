"""Tables of submissions, their history, their files and the quota ledger."""

from __future__ import annotations

import datetime as dt
from datetime import datetime

from sqlalchemy import BigInteger, ColumnElement, ForeignKey, Index, Integer, UniqueConstraint, func, text
from sqlalchemy.ext.hybrid import hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datacomp.messages import QuotaState, Stage, SubmissionKind
from datacomp_server.accounts.models import Team, User
from datacomp_server.boards.models import Board
from datacomp_server.clock import new_id, now
from datacomp_server.database import Base, enum_column

Counter = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite counts up only INTEGER keys by itself."""


class Submission(Base):
    """What somebody handed in to a board.

    `state` is derived from the runs and the three times below by `states.derive_state`, and stored so that boards
    can be listed; `Lifecycle` refreshes it in the transaction of every transition.
    """

    __tablename__ = "submissions"
    __table_args__ = (
        Index(None, "board_name", "state", "created_at"),
        Index(None, "user_id", "created_at"),
        Index(None, "team_id", "created_at"),
        Index(
            "ix_submissions_baselines", "board_name",
            postgresql_where=text("baseline IS true"), sqlite_where=text("baseline IS 1"),
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"))
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    team_id: Mapped[str | None] = mapped_column(ForeignKey("teams.id"))
    """The team it belongs to: its participant's at the time of opening, for good."""
    kind: Mapped[SubmissionKind] = mapped_column(enum_column(SubmissionKind))
    method: Mapped[str]
    description: Mapped[str]
    link: Mapped[str]
    filename: Mapped[str]
    digest: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    rehearsal: Mapped[bool]
    baseline: Mapped[bool] = mapped_column(default=False)
    """Handed in by an organiser, or pinned: other rows are compared with it."""
    priority: Mapped[int] = mapped_column(default=0)
    """Set by organisers; higher is served first."""
    state: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(default=now)
    uploaded_at: Mapped[datetime | None]
    cancelled_at: Mapped[datetime | None]
    withdrawn_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    subset_size: Mapped[int | None] = mapped_column(BigInteger)
    subset_digest: Mapped[str | None] = mapped_column(index=True)
    """Digest of the uids that are trained on, once the subset stage is done."""
    duplicate_of: Mapped[str | None]
    """The first submission to the same board with the same subset."""
    user: Mapped[User] = relationship(lazy="joined", innerjoin=True)
    team: Mapped[Team | None] = relationship(lazy="joined")
    board: Mapped[Board] = relationship(lazy="joined", innerjoin=True)

    @hybrid_property
    def party(self) -> str:
        """Id of whom it belongs to, its team or its participant: who takes turns, is counted, and is ranked."""
        return self.team_id or self.user_id

    @party.inplace.expression
    @classmethod
    def _party_expression(cls) -> ColumnElement[str]:
        return func.coalesce(cls.team_id, cls.user_id)


class Event(Base):
    """One line of a submission's append-only history."""

    __tablename__ = "events"
    __table_args__ = (Index(None, "submission_id", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"))
    run_id: Mapped[str | None]
    stage: Mapped[Stage | None] = mapped_column(enum_column(Stage))
    what: Mapped[str]
    before: Mapped[str | None]
    after: Mapped[str | None]
    actor: Mapped[str]
    reason: Mapped[str]


class StoredFile(Base):
    """A file in storage: a submission's upload (no run), or an output of a run's attempt.

    Only the database promotes: an attempt's output counts once `promoted` is set. A run that reuses another's
    outputs has rows of its own (no attempt) that point at the same keys.
    """

    __tablename__ = "stored_files"
    __table_args__ = (UniqueConstraint("attempt_id", "name"), Index(None, "run_id", "promoted"))

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), index=True)
    run_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    attempt_id: Mapped[str | None] = mapped_column(ForeignKey("attempts.id"))
    name: Mapped[str]
    key: Mapped[str]
    digest: Mapped[str]
    size: Mapped[int] = mapped_column(BigInteger)
    promoted: Mapped[bool] = mapped_column(default=False)
    deleted_at: Mapped[datetime | None]
    """When its bytes were removed, because the time was up that such files are kept for."""
    created_at: Mapped[datetime] = mapped_column(default=now)


class SubsetSketch(Base):
    """The sketch of a subset (see `datacomp.sketches`), whoever handed it in."""

    __tablename__ = "subset_sketches"

    subset_digest: Mapped[str] = mapped_column(primary_key=True)
    sketch: Mapped[bytes]


class QuotaEntry(Base):
    """One line of the quota ledger: what a submission costs its participant, or the participant's team."""

    __tablename__ = "quota_entries"
    __table_args__ = (Index(None, "user_id", "board_name", "day"), Index(None, "team_id", "board_name", "day"))

    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id"))
    team_id: Mapped[str | None] = mapped_column(ForeignKey("teams.id"))
    board_name: Mapped[str] = mapped_column(ForeignKey("boards.name"))
    day: Mapped[dt.date]
    """UTC day on which the submission was opened."""
    rehearsal: Mapped[bool]
    """Rehearsals have an allowance of their own."""
    state: Mapped[QuotaState] = mapped_column(enum_column(QuotaState))
    reason: Mapped[str] = mapped_column(default="")
    settled_at: Mapped[datetime | None]
