"""Rules of leaderboards: who is ranked, in which order, and against what."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import LeaderboardOut, LeaderboardRow, Track
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.clock import now
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.visibility import ShownScore, public_part, shown, withheld
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.receipts import receipt_url

RANK_BY = "average"


class LeaderboardService:
    """Reads boards."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.boards = BoardService(session)
        self.scores = ScoreRepository(session)

    def board(self, name: str) -> LeaderboardOut:
        """The leaderboard of a board: ranked rows, then those without an average, then what is under way.

        Rehearsals, and what was rejected, failed, cancelled or withdrawn, are never shown.
        """
        return self._out(self.boards.row(name))

    def board_of_scale(self, scale: str, track: Track = Track.FILTERING) -> LeaderboardOut:
        """The leaderboard that `--scale` means."""
        return self._out(self.boards.row_of_scale(scale, track))

    def _out(self, board: Board) -> LeaderboardOut:
        hidden = withheld(board)
        rows = [(submission, shown(score, hidden)) for submission, score in self.scores.scored_rows(board.name)]
        ranked, unranked = _split(rows)
        pinned = Pinned.of(board)
        best = max((value for submission, _, value in ranked if pinned.has(submission)), default=None)
        lines = [
            self._row(submission, score, pinned, rank=rank, delta=None if best is None else value - best)
            for rank, (submission, score, value) in enumerate(ranked, 1)
        ]
        lines += [self._row(submission, score, pinned) for submission, score in unranked]
        lines += [self._row(submission, None, pinned) for submission in self.scores.unfinished_rows(board.name)]
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
            rows=lines,
            generated_at=now(),
        )

    def _row(
        self,
        submission: Submission,
        score: ShownScore | None,
        pinned: Pinned,
        *,
        rank: int | None = None,
        delta: float | None = None,
    ) -> LeaderboardRow:
        tasks = score.tasks if score else {}
        return LeaderboardRow(
            rank=rank,
            method=submission.method,
            participant=submission.user.name,
            submission=submission.id,
            url=receipt_url(self.settings.public_url, submission.id),
            subset_size=submission.subset_size,
            score=score.average if rank is not None and score else None,
            main=score.main if score else None,
            groups=score.groups if score else {},
            tasks={key: found["value"] for key, found in tasks.items() if found.get("value") is not None},
            status=submission.state,
            kind=submission.kind,
            baseline=pinned.has(submission),
            delta_to_baseline=delta,
            duplicate_of=submission.duplicate_of,
            date=submission.created_at,
        )


def _split(
    rows: Sequence[tuple[Submission, ShownScore]],
) -> tuple[list[tuple[Submission, ShownScore, float]], list[tuple[Submission, ShownScore]]]:
    """Rows with a finite average, best first and equal ones by the earlier submission, and the others.

    Sorted here because databases disagree on where NULL and NaN belong.
    """
    ranked, others = [], []
    for submission, score in rows:
        if score.average is not None and math.isfinite(score.average):
            ranked.append((submission, score, score.average))
        else:
            others.append((submission, score))
    ranked.sort(key=lambda row: (-row[2], row[0].created_at, row[0].id))
    return ranked, others


@dataclass(frozen=True)
class Pinned:
    """What a board's description pins as baselines, beside the entries of organisers."""

    accounts: frozenset[str]
    submissions: frozenset[str]

    @classmethod
    def of(cls, board: Board) -> Pinned:
        """As the board says."""
        return cls(frozenset(name.lower() for name in board.baseline_accounts), frozenset(board.baseline_submissions))

    def has(self, submission: Submission) -> bool:
        """Whether other rows are compared with it."""
        named = submission.user.name.lower() in self.accounts or submission.id in self.submissions
        return submission.baseline or named
