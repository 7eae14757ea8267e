"""Tables of boards and of the suites they name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datacomp.messages import Disclosure, Track
from datacomp_server.clock import now
from datacomp_server.database import Base, enum_column


class StoredSuite(Base):
    """An evaluation suite as it was when a board named it; scores refer to it by digest."""

    __tablename__ = "suites"

    digest: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    """`name@version`."""
    body: Mapped[dict[str, Any]]


class Board(Base):
    """Track x scale x suite version, with a pool and quotas."""

    __tablename__ = "boards"

    name: Mapped[str] = mapped_column(primary_key=True)
    title: Mapped[str]
    description: Mapped[str]
    track: Mapped[Track] = mapped_column(enum_column(Track))
    scale: Mapped[str]
    suite_digest: Mapped[str] = mapped_column(ForeignKey("suites.digest"))
    pool: Mapped[str]
    pool_digest: Mapped[str | None]
    pool_rows: Mapped[int | None] = mapped_column(BigInteger)
    train_queue: Mapped[str]
    data_queue: Mapped[str]
    seeds: Mapped[list[int]]
    dedup: Mapped[dict[str, Any]]
    byod: Mapped[dict[str, Any] | None]
    """What it asks of datasets; null on boards of the filtering track."""
    submissions_per_day: Mapped[int]
    submissions_total: Mapped[int | None]
    """Of one participant or team over the board's life; None: no limit."""
    submissions_concurrent: Mapped[int | None]
    """Of one participant or team under way at once; None: no limit."""
    max_upload_bytes: Mapped[int] = mapped_column(BigInteger)
    baseline_accounts: Mapped[list[str]]
    baseline_submissions: Mapped[list[str]] = mapped_column(default=list)
    opens_at: Mapped[datetime | None]
    closes_at: Mapped[datetime | None]
    private_tasks: Mapped[list[str]] = mapped_column(default=list)
    """Keys of tasks whose scores are withheld until `reveals_at`."""
    reveals_at: Mapped[datetime | None]
    disclosure: Mapped[Disclosure] = mapped_column(enum_column(Disclosure), default=Disclosure.NEVER)
    show_images: Mapped[bool] = mapped_column(default=False)
    seed_deviation: Mapped[dict[str, Any] | None]
    """As `boards.deviation.SeedDeviation` writes it; null: the defaults."""
    position: Mapped[int]
    """Order on pages."""
    listed: Mapped[bool] = mapped_column(default=True)
    """False once a board is gone from the configuration: shown, but closed to submissions."""
    updated_at: Mapped[datetime] = mapped_column(default=now, onupdate=now)
    suite: Mapped[StoredSuite] = relationship(lazy="joined", innerjoin=True)
