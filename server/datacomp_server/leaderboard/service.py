"""Rules of leaderboards: who is ranked, in which order, and against what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement
from sqlalchemy.orm import Session

from datacomp.messages import LeaderboardOut, LeaderboardRow, Track
from datacomp_server.accounts.models import User
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.clock import now
from datacomp_server.leaderboard.order import Means, Order
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.visibility import ShownScore, public_part, shown, withheld
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.receipts import receipt_url

RANK_BY = "average"
MOST_UNFINISHED = 200
"""So many of what is under way are named; the others are counted."""


@dataclass(frozen=True)
class View:
    """Which page of a board, in which order."""

    order: Order = field(default_factory=Order)
    limit: int = 1000
    offset: int = 0
    tasks: bool = True
    """Whether rows come with the scores of every task."""


class LeaderboardService:
    """Reads boards."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.boards = BoardService(session)
        self.scores = ScoreRepository(session)

    def board(self, name: str, view: View | None = None) -> LeaderboardOut:
        """One page of a board's entries, and the first of what is under way.

        Rehearsals, and what was rejected, failed, cancelled or withdrawn, are never shown.
        """
        return self._out(self.boards.row(name), view or View())

    def board_of_scale(self, scale: str, track: Track = Track.FILTERING, view: View | None = None) -> LeaderboardOut:
        """The leaderboard that `--scale` means."""
        return self._out(self.boards.row_of_scale(scale, track), view or View())

    def name_of_scale(self, scale: str, track: Track = Track.FILTERING) -> str:
        """The board that `--scale` means."""
        return self.boards.row_of_scale(scale, track).name

    def pages(self, name: str, size: int = 1000) -> Iterator[LeaderboardOut]:
        """All entries of a board by rank, page by page."""
        offset = 0
        while True:
            page = self.board(name, View(limit=size, offset=offset))
            yield page
            offset += size
            if offset >= page.total:
                return

    def _out(self, board: Board, view: View) -> LeaderboardOut:
        hidden = withheld(board)
        means = Means(public=bool(hidden))
        pinned = Pinned.of(board)
        best = self.scores.best(board.name, means, pinned.conditions())
        found = self.scores.listed(
            board.name, view.order, means, limit=view.limit, offset=view.offset, tasks=view.tasks
        )
        waiting = self.scores.unfinished_rows(board.name, MOST_UNFINISHED)
        return LeaderboardOut(
            board=board.name,
            title=board.title,
            scale=board.scale,
            suite=board.suite.name,
            suite_digest=board.suite_digest,
            rank_by=RANK_BY,
            tasks=[task.key for task in public_part(BoardService.suite_of(board), hidden).tasks],
            withheld=hidden,
            reveals_at=board.reveals_at,
            total=self.scores.listed_count(board.name),
            offset=view.offset,
            rows=[
                self._row(entry, shown(score, hidden, tasks=view.tasks), pinned, place, best)
                for entry, score, place in found
            ],
            under_way_total=self._under_way(board, len(waiting)),
            under_way=[self._row(submission, None, pinned) for submission in waiting],
            generated_at=now(),
        )

    def _under_way(self, board: Board, named: int) -> int:
        """How many submissions are under way, counted only where not all could be named."""
        return named if named < MOST_UNFINISHED else self.scores.unfinished_count(board.name)

    def _row(
        self,
        submission: Submission,
        score: ShownScore | None,
        pinned: Pinned,
        place: int | None = None,
        best: float | None = None,
    ) -> LeaderboardRow:
        tasks = score.tasks if score else {}
        average = score.average if score else None
        return LeaderboardRow(
            rank=None if average is None else place,
            method=submission.method,
            participant=submission.user.name,
            team=submission.team.name if submission.team else None,
            submission=submission.id,
            url=receipt_url(self.settings.public_url, submission.id),
            subset_size=submission.subset_size,
            score=average,
            main=score.main if score else None,
            groups=score.groups if score else {},
            tasks={key: found["value"] for key, found in tasks.items() if found.get("value") is not None},
            status=submission.state,
            kind=submission.kind,
            baseline=pinned.has(submission),
            delta_to_baseline=None if average is None or best is None else average - best,
            duplicate_of=submission.duplicate_of,
            date=submission.created_at,
        )


@dataclass(frozen=True)
class Pinned:
    """What a board's description pins as baselines, beside the entries of organisers."""

    accounts: frozenset[str]
    submissions: frozenset[str]

    @classmethod
    def of(cls, board: Board) -> Pinned:
        """As the board says."""
        return cls(frozenset(name.lower() for name in board.baseline_accounts), frozenset(board.baseline_submissions))

    def conditions(self) -> list[ColumnElement[bool]]:
        """The same for the database."""
        named = [User.name_key.in_(self.accounts), Submission.id.in_(self.submissions)]
        return [Submission.baseline.is_(True), *named]

    def has(self, submission: Submission) -> bool:
        """Whether other rows are compared with it."""
        named = submission.user.name.lower() in self.accounts or submission.id in self.submissions
        return submission.baseline or named
