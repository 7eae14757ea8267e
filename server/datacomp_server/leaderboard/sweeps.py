"""SQL of the sweeps that find rank ranges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from datacomp_server.boards.models import Board
from datacomp_server.boards.service import is_revealed
from datacomp_server.database import is_postgresql
from datacomp_server.leaderboard.models import RankChange, Ranking, RankSweep, Score
from datacomp_server.leaderboard.order import Means
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import SCORED, WITHDRAWN

MOST_CHANGES = 100_000
BLOCK = 10_000
"""Rows that one statement deletes."""


class Entry(NamedTuple):
    """What an entry's place depends on."""

    submission_id: str
    average: float | None
    seeds: int
    sampling_variance: float | None
    party: str


class Placed(NamedTuple):
    """Where an entry may well stand, and how many its party has had scored."""

    submission_id: str
    lo: int
    hi: int
    holm_lo: int
    holm_hi: int
    tries: int


class SweepRepository:
    """Changes, sweeps, and the ranges that they find."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def due_boards(self) -> list[str]:
        """Boards with changes that no sweep has seen, and those that have revealed their private tasks since."""
        changed = set(self.session.scalars(select(RankChange.board_name).distinct()))
        query = select(Board).join(RankSweep, RankSweep.board_name == Board.name).where(RankSweep.public)
        return sorted(changed | {board.name for board in self.session.scalars(query) if is_revealed(board)})

    def begin(self, board: str, at: datetime, stale: datetime) -> int | None:
        """Begin a sweep: its number, or None while another that began after `stale` is at it."""
        query = select(RankSweep).where(RankSweep.board_name == board).with_for_update()
        row = self.session.scalar(query)
        if row is None:
            insert = postgresql.insert if is_postgresql(self.session) else sqlite.insert
            first = {"board_name": board, "number": 0, "ranked": 0, "public": False}
            self.session.execute(insert(RankSweep).values(first).on_conflict_do_nothing())
            row = self.session.scalars(query).one()
        if row.begun_at is not None and row.begun_at > stale:
            return None
        row.number, row.begun_at = row.number + 1, at
        return row.number

    def is_at(self, board: str, number: int) -> bool:
        """Whether the sweep of that number has not been overtaken; it will not be while the transaction lasts."""
        query = select(RankSweep.number).where(RankSweep.board_name == board).with_for_update()
        return self.session.scalar(query) == number

    def board(self, name: str) -> Board:
        """The board's row."""
        return self.session.get_one(Board, name)

    def changes(self, board: str) -> list[int]:
        """Ids of the changes that are there now."""
        query = select(RankChange.id).where(RankChange.board_name == board).order_by(RankChange.id)
        return list(self.session.scalars(query.limit(MOST_CHANGES)))

    def entries(self, board: str, means: Means) -> list[Entry]:
        """All listed entries."""
        columns = (Score.submission_id, means.average, Score.seeds, means.sampling_variance, Submission.party)
        query = select(*columns).join(Submission, Submission.id == Score.submission_id)
        rows = self.session.execute(query.where(Score.board_name == board, Score.listed.is_(True)))
        return [Entry(*row) for row in rows]

    def tries(self, board: str) -> dict[str, int]:
        """How many entries each party has had scored: those that were withdrawn count too."""
        scored = Submission.state.in_((SCORED, WITHDRAWN))
        query = select(Submission.party, func.count()).where(Submission.board_name == board, scored)
        rows = self.session.execute(query.where(~Submission.rehearsal).group_by(Submission.party))
        return {row[0]: row[1] for row in rows}

    def placed(self, board: str) -> dict[str, Placed]:
        """What the last sweep found, by submission."""
        columns = (Ranking.submission_id, Ranking.lo, Ranking.hi, Ranking.holm_lo, Ranking.holm_hi, Ranking.tries)
        rows = self.session.execute(select(*columns).where(Ranking.board_name == board))
        return {row[0]: Placed(*row) for row in rows}

    def write(self, board: str, found: Sequence[Placed]) -> None:
        """Insert or replace ranges."""
        insert = (postgresql.insert if is_postgresql(self.session) else sqlite.insert)(Ranking)
        columns = ("lo", "hi", "holm_lo", "holm_hi", "tries")
        replaced = {name: insert.excluded[name] for name in columns}
        statement = insert.on_conflict_do_update(index_elements=[Ranking.submission_id], set_=replaced)
        self.session.connection().execute(statement, [{"board_name": board, **placed._asdict()} for placed in found])

    def forget(self, submissions: Iterable[str]) -> None:
        """Remove the ranges of what is no longer listed."""
        gone = list(submissions)
        for start in range(0, len(gone), BLOCK):
            part = gone[start : start + BLOCK]
            self.session.execute(delete(Ranking).where(Ranking.submission_id.in_(part)))

    def end(self, board: str, seen: Sequence[int], *, at: datetime, ranked: int, public: bool) -> None:
        """The sweep is done; it has seen those changes."""
        for start in range(0, len(seen), BLOCK):
            self.session.execute(delete(RankChange).where(RankChange.id.in_(seen[start : start + BLOCK])))
        row = self.session.get_one(RankSweep, board)
        row.begun_at, row.done_at, row.ranked, row.public = None, at, ranked, public

    def last(self, board: str) -> RankSweep | None:
        """The board's sweep."""
        return self.session.get(RankSweep, board)

    def is_changed(self, board: str) -> bool:
        """Whether there are changes that no sweep has seen."""
        return self.session.scalar(select(RankChange.id).where(RankChange.board_name == board).limit(1)) is not None
