"""SQL of boards."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from datacomp.messages import Track
from datacomp_server.boards.models import Board, StoredSuite
from datacomp_server.database import hold_lock
from datacomp_server.leaderboard.models import RankChange
from datacomp_server.submissions.models import Submission


class BoardRepository:
    """Boards and suites."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def get(self, name: str) -> Board | None:
        """The board of that name."""
        return self.session.get(Board, name)

    def all(self) -> list[Board]:
        """All boards, in the order of pages."""
        return list(self.session.scalars(select(Board).order_by(Board.listed.desc(), Board.position, Board.name)))

    def by_scale(self, scale: str, track: Track) -> Board | None:
        """The first listed board of a track and scale."""
        query = select(Board).where(Board.scale == scale, Board.track == track, Board.listed)
        return self.session.scalar(query.order_by(Board.position, Board.name).limit(1))

    def has_submissions(self, name: str) -> bool:
        """Whether anything was ever handed in."""
        return bool(self.session.scalar(select(exists().where(Submission.board_name == name))))

    def suite(self, digest: str) -> StoredSuite | None:
        """A stored suite."""
        return self.session.get(StoredSuite, digest)

    def add(self, row: Board | StoredSuite) -> None:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()

    def note_ranks(self, name: str) -> None:
        """Something changed that a board's ranks depend on."""
        self.session.add(RankChange(board_name=name))

    def lock(self) -> None:
        """Let one process at a time apply a configuration."""
        hold_lock(self.session, "boards")
