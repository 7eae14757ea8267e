"""Uids that were removed from a pool on somebody's request: no longer trained with, and never shown.

Scores that stand were trained before and stay; their manifests say on which uids.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp_server.clock import now
from datacomp_server.database import Base

UID = re.compile(r"[0-9a-f]{32}")


class RemovedUid(Base):
    """One sample of a pool."""

    __tablename__ = "removed_uids"

    pool: Mapped[str] = mapped_column(primary_key=True)
    uid: Mapped[str] = mapped_column(primary_key=True)
    """32 lower-case hex digits."""
    reason: Mapped[str]
    actor: Mapped[str]
    removed_at: Mapped[datetime] = mapped_column(default=now)


class Removals:
    """What is removed from which pool."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def of_pool(self, pool: str) -> list[str]:
        """The uids removed from a pool, sorted."""
        return list(
            self.session.scalars(select(RemovedUid.uid).where(RemovedUid.pool == pool).order_by(RemovedUid.uid))
        )

    def count(self, pool: str) -> int:
        """How many are removed from a pool."""
        return self.session.scalar(select(func.count()).where(RemovedUid.pool == pool)) or 0

    def remove(self, pool: str, uids: Sequence[str], *, actor: str, reason: str) -> int:
        """Remove samples; returns how many were not removed before. `BadInput` names everything that is no uid."""
        wanted = [uid.strip().lower() for uid in uids]
        raise_if_any(
            [
                Problem(
                    code="uid-malformed",
                    message=f"{uid!r} is no uid",
                    where=f"uid {place}",
                    hint="32 hex digits, as in the pool's metadata",
                )
                for place, uid in enumerate(wanted, 1)
                if not UID.fullmatch(uid)
            ]
        )
        if not wanted:
            raise BadInput.of("uids-missing", "no uid is given", hint="name at least one")
        new = sorted(set(wanted) - set(self.of_pool(pool)))
        self.session.add_all(RemovedUid(pool=pool, uid=uid, actor=actor, reason=reason) for uid in new)
        return len(new)

    def restore(self, pool: str, uids: Sequence[str]) -> int:
        """Take removals back; returns how many."""
        rows = [row for uid in set(uids) if (row := self.session.get(RemovedUid, (pool, uid.strip().lower())))]
        for row in rows:
            self.session.delete(row)
        return len(rows)
