"""Rules of leaderboards: who is ranked, in which order, and against what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from datacomp.messages import LeaderboardOut, LeaderboardRow, Track
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.clock import now
from datacomp_server.leaderboard.columns import unpack
from datacomp_server.leaderboard.models import Ranking, Score
from datacomp_server.leaderboard.order import Means, Order
from datacomp_server.leaderboard.repository import Listed, ScoreRepository
from datacomp_server.leaderboard.spread import RULE, Baseline, Spread
from datacomp_server.leaderboard.sweeps import SweepRepository
from datacomp_server.leaderboard.visibility import ShownScore, public_part, shown, withheld
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.receipts import receipt_url

RANK_BY = "average"
MOST_UNFINISHED = 200
"""So many of what is under way are named; the others are counted."""
MOST_WORDS = 8
"""That are looked for at once."""


@dataclass(frozen=True)
class View:
    """Which page of a board, in which order."""

    order: Order = field(default_factory=Order)
    limit: int = 1000
    offset: int = 0
    tasks: bool = True
    """Whether rows come with the scores of every task."""
    private: bool = False
    """Whether private tasks count and are shown before the board reveals them: for organisers alone."""
    find: str = ""
    """Words that the names of method, participant and team must have; places stay those among all entries."""

    @property
    def words(self) -> list[str]:
        """What is looked for, as far as it can be."""
        return "".join(sign if sign.isprintable() else " " for sign in self.find).split()[:MOST_WORDS]


class LeaderboardService:
    """Reads boards."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.settings = settings
        self.boards = BoardService(session)
        self.scores = ScoreRepository(session)
        self.sweeps = SweepRepository(session)

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

    def pages(self, name: str, size: int = 1000, *, private: bool = False) -> Iterator[LeaderboardOut]:
        """All entries of a board by rank, page by page; with `private` as organisers may see them."""
        offset = 0
        while True:
            page = self.board(name, View(limit=size, offset=offset, private=private))
            yield page
            offset += size
            if offset >= page.total:
                return

    def _out(self, board: Board, view: View) -> LeaderboardOut:
        hidden = [] if view.private else withheld(board)
        # Sorted by a task that nobody may see yet, the rows would tell it.
        order = Order() if view.order.task in hidden else view.order
        means = Means(public=bool(hidden))
        pinned = Pinned.of(board)
        best = self.scores.best(board.name, means, pinned.accounts, pinned.submissions)
        against = Against(Spread(SeedDeviation.of(board)), best)
        suite = BoardService.suite_of(board)
        keys = sorted(task.key for task in suite.tasks) if view.tasks else []
        listed, total = self.scores.listed(
            board, order, means, limit=view.limit, offset=view.offset, tasks=view.tasks, words=view.words
        )
        sweep = self.sweeps.last(board.name)
        valid = sweep is not None and sweep.done_at is not None and sweep.public == means.public
        waiting = self.scores.unfinished_rows(board.name, MOST_UNFINISHED)
        return LeaderboardOut(
            board=board.name,
            title=board.title,
            scale=board.scale,
            suite=board.suite.name,
            suite_digest=board.suite_digest,
            rank_by=RANK_BY,
            tasks=[task.key for task in public_part(suite, hidden).tasks],
            withheld=hidden,
            reveals_at=board.reveals_at,
            total=total,
            offset=view.offset,
            rows=[self._entry(found, hidden, keys, pinned, against, valid) for found in listed],
            ranked=sweep.ranked if sweep is not None and valid else None,
            ranks_at=sweep.done_at if sweep is not None and valid else None,
            ranks_pending=not valid or self.sweeps.is_changed(board.name),
            seed_deviation=against.spread.out(),
            rule=RULE,
            under_way_total=self._under_way(board, len(waiting)),
            under_way=[self._row(submission, pinned) for submission in waiting],
            generated_at=now(),
        )

    def _under_way(self, board: Board, named: int) -> int:
        """How many submissions are under way, counted only where not all could be named."""
        return named if named < MOST_UNFINISHED else self.scores.unfinished_count(board.name)

    def _entry(
        self, listed: Listed, hidden: list[str], keys: list[str], pinned: Pinned, against: Against, valid: bool
    ) -> LeaderboardRow:
        """The row of an entry; `keys`: of the tasks that rows come with, in order; `valid`: whether ranges hold."""
        submission, whole, ranking, place = listed
        score = shown(whole, hidden, tasks=False)
        placed = score.average is not None
        return self._row(
            submission,
            pinned,
            rank=place if placed else None,
            score=score.average,
            main=score.main,
            groups=score.groups,
            tasks=_tasks(whole, keys, hidden),
            seeds=score.seeds,
            **against.bounds(submission.id, score),
            **_ranges(ranking, placed=valid and placed),
        )

    def _row(self, submission: Submission, pinned: Pinned, **figures: Any) -> LeaderboardRow:
        """A submission's row, without scores unless `figures` has them."""
        blank: dict[str, Any] = {"rank": None, "score": None, "main": None, "groups": {}, "tasks": {}}
        return LeaderboardRow(
            method=submission.method,
            participant=submission.user.name,
            team=submission.team.name if submission.team else None,
            submission=submission.id,
            url=receipt_url(self.settings.public_url, submission.id),
            subset_size=submission.subset_size,
            status=submission.state,
            kind=submission.kind,
            baseline=pinned.has(submission),
            duplicate_of=submission.duplicate_of,
            date=submission.created_at,
            **{**blank, **figures},
        )


@dataclass(frozen=True)
class Against:
    """What a row's figures are compared with."""

    spread: Spread
    best: Baseline | None

    def bounds(self, submission: str, score: ShownScore) -> dict[str, float | None]:
        """A row's intervals, and its difference to the best baseline."""
        known = {
            "score": self.spread.average(score),
            "main": self.spread.main(score),
            "delta": self.spread.delta(submission, score, self.best),
        }
        bounds = {
            f"{name}_{end}": getattr(found, end) for name, found in known.items() if found for end in ("lo", "hi")
        }
        delta = None if self.best is None or score.average is None else score.average - self.best.average
        return {**bounds, "delta_to_baseline": delta}


def _ranges(ranking: Ranking | None, *, placed: bool) -> dict[str, int | None]:
    """A row's ranges, where the last sweep placed it by the means that are shown."""
    if ranking is None:
        return {}
    if not placed or ranking.lo == 0:
        return {"tries": ranking.tries}
    ends = {"rank_lo": ranking.lo, "rank_hi": ranking.hi, "holm_lo": ranking.holm_lo, "holm_hi": ranking.holm_hi}
    return {**ends, "tries": ranking.tries}


def _tasks(score: Score, keys: list[str], hidden: list[str]) -> dict[str, float]:
    """Values of the tasks with these keys, but for the hidden ones; by themselves where they were packed otherwise."""
    if not keys:
        return {}
    found = unpack(score.task_values, keys)
    if found is None:
        found = {key: task["value"] for key, task in score.tasks.items() if task.get("value") is not None}
    return {key: value for key, value in found.items() if key not in hidden}


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
