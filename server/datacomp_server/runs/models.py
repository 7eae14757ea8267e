"""Tables of runs, attempts, the outbox and workers."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates

from datacomp.messages import RunState, Stage, SubmissionKind
from datacomp_server.clock import new_id, now
from datacomp_server.database import Base, enum_column
from datacomp_server.runs.transitions import check_transition
from datacomp_server.submissions.models import Counter, Submission


class Run(Base):
    """One stage of one submission and, for training and evaluation, one seed."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("submission_id", "stage", "seed"),
        Index(None, "state", "queue"),
        Index(None, "input_digest"),
    )

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    submission_id: Mapped[str] = mapped_column(ForeignKey("submissions.id"), index=True)
    after_id: Mapped[str | None] = mapped_column(ForeignKey("runs.id"))
    """The run whose end this one waits for."""
    position: Mapped[int]
    """Order within the submission."""
    stage: Mapped[Stage] = mapped_column(enum_column(Stage))
    seed: Mapped[int]
    queue: Mapped[str]
    state: Mapped[RunState] = mapped_column(enum_column(RunState))
    fence: Mapped[int] = mapped_column(default=0)
    """Fencing number of the latest attempt; never falls."""
    attempt_count: Mapped[int] = mapped_column(default=0)
    worker: Mapped[str | None]
    input_digest: Mapped[str | None]
    """Digest of everything the result depends on; equal digests share their outputs."""
    reused_from: Mapped[str | None]
    queued_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    heard_at: Mapped[datetime | None]
    """Last heartbeat; tells event watchers that the progress is new."""
    due_at: Mapped[datetime | None] = mapped_column(index=True)
    """When the state it is in must have ended; the dispatcher then hands the run on or fails it. None once final."""
    progress: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]
    environment: Mapped[dict[str, Any] | None]
    log_tail: Mapped[str] = mapped_column(default="")
    submission: Mapped[Submission] = relationship(lazy="select")

    @property
    def runs_code(self) -> bool:
        """Whether it runs participants' code."""
        return self.stage is Stage.FILTER and self.submission.kind is SubmissionKind.CODE

    @validates("state")
    def _check_state(self, _key: str, after: RunState) -> RunState:
        check_transition(self.state, after)
        return after


class AttemptState(StrEnum):
    """How an attempt stands; only an `open` one may write."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"
    LOST = "lost"
    CANCELLED = "cancelled"


class Attempt(Base):
    """One claim of a run by one worker, with a lease and a fencing number."""

    __tablename__ = "attempts"
    __table_args__ = (UniqueConstraint("run_id", "fence"), Index(None, "state", "lease_until"))

    id: Mapped[str] = mapped_column(primary_key=True, default=new_id)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    fence: Mapped[int]
    number: Mapped[int]
    worker: Mapped[str]
    state: Mapped[AttemptState] = mapped_column(enum_column(AttemptState), default=AttemptState.OPEN)
    started_at: Mapped[datetime] = mapped_column(default=now)
    lease_until: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    device: Mapped[str | None]
    """What it held, as its worker reported: `cpu` or `cuda`; None before the first report."""
    device_count: Mapped[int] = mapped_column(default=0, server_default="0")
    """GPUs held, or processors."""
    seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Wall clock that it held them for."""
    cpu_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Processor time that it used."""
    run: Mapped[Run] = relationship(lazy="select")


class OutboxRow(Base):
    """A ring of the doorbell that is owed, written in the transaction that queued the run."""

    __tablename__ = "outbox"
    __table_args__ = (Index(None, "delivered_at", "id"),)

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    queue: Mapped[str]
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"))
    created_at: Mapped[datetime] = mapped_column(default=now)
    delivered_at: Mapped[datetime | None]


class Turn(Base):
    """When a party (see `repository.PARTY`) was last served: whoever waited longest comes first."""

    __tablename__ = "turns"

    party: Mapped[str] = mapped_column(primary_key=True)
    served_at: Mapped[datetime]


class Worker(Base):
    """A worker as it last introduced itself."""

    __tablename__ = "workers"

    name: Mapped[str] = mapped_column(primary_key=True)
    queues: Mapped[list[str]]
    busy: Mapped[str | None]
    no_code: Mapped[str] = mapped_column(default="", server_default="")
    """Why it cannot run participants' code; empty where it can."""
    first_seen: Mapped[datetime] = mapped_column(default=now)
    last_seen: Mapped[datetime] = mapped_column(default=now)
