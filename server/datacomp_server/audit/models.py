"""The table of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from datacomp_server.clock import now
from datacomp_server.database import Base
from datacomp_server.submissions.models import Counter


class AuditLine(Base):
    """One act. Lines are never changed (the database refuses it) and name accounts by id: names are looked up when
    they are read, so that a deleted account's name is gone from here too."""

    __tablename__ = "audit_log"
    __table_args__ = (Index(None, "actor_id", "id"), Index(None, "subject_id", "id"), Index(None, "what", "id"))

    id: Mapped[int] = mapped_column(Counter, primary_key=True, autoincrement=True)
    at: Mapped[datetime] = mapped_column(default=now)
    what: Mapped[str]
    """See `datacomp_server.audit.service.Act`."""
    actor_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    """Who did it; None for nobody known, and for the server's own console."""
    subject_id: Mapped[str | None] = mapped_column(ForeignKey("users.id"))
    """The account it was done to, or whose sign-in it was."""
    about: Mapped[str]
    """The id of what it was done to: a token, team, submission, board; else empty."""
    address: Mapped[str | None]
    request_id: Mapped[str | None]
    details: Mapped[dict[str, Any]]
    """Never a secret."""
