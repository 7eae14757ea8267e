"""SQL of published rows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from datacomp.messages import Track
from datacomp_server.database import hold_lock
from datacomp_server.published.models import PublishedScore


class PublishedRepository:
    """Rows of papers."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get(self, key: str) -> PublishedScore | None:
        """The row of a key."""
        return self.session.get(PublishedScore, key)

    def add(self, row: PublishedScore) -> None:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()

    def of_scale(self, track: Track, scale: str, suite: str) -> list[PublishedScore]:
        """What may stand beside a board: by source, the best first."""
        query = select(PublishedScore).where(
            PublishedScore.track == track, PublishedScore.scale == scale, PublishedScore.suite == suite
        )
        order = (PublishedScore.source, PublishedScore.average.is_(None), PublishedScore.average.desc())
        return list(self.session.scalars(query.order_by(*order, PublishedScore.method, PublishedScore.key)))

    def of_suite(self, track: Track, suite: str, scales: Iterable[str]) -> list[PublishedScore]:
        """What may stand beside the boards of some scales."""
        return [row for scale in scales for row in self.of_scale(track, scale, suite)]

    def sources(self) -> dict[str, int]:
        """Number of rows by source."""
        query = select(PublishedScore.source, func.count()).group_by(PublishedScore.source)
        return {row[0]: row[1] for row in self.session.execute(query.order_by(PublishedScore.source))}

    def remove(self, sources: Iterable[str]) -> None:
        """Delete the rows of some sources."""
        self.session.execute(delete(PublishedScore).where(PublishedScore.source.in_(list(sources))))

    def lock(self) -> None:
        """Let one process at a time import."""
        hold_lock(self.session, "published")
