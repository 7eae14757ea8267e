"""SQL of scores."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session, contains_eager, defer, lazyload

from datacomp_server.boards.models import Board
from datacomp_server.leaderboard.columns import columns_of
from datacomp_server.leaderboard.models import UNRANKED, RankChange, Ranking, Score, SeedScore
from datacomp_server.leaderboard.order import Means, Order
from datacomp_server.leaderboard.spread import Baseline
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import FINAL, UPLOADING


class ScoreRepository:
    """Scores and the rows of a board."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Score | SeedScore) -> None:
        """Insert a row now; a score moves its board's ranks."""
        self.session.add(row)
        self.session.flush()
        if isinstance(row, Score):
            self.note_change(row.board_name)

    def note_change(self, board: str) -> None:
        """Something changed that the ranks of a board depend on: they are swept soon after the commit."""
        self.session.add(RankChange(board_name=board))

    def seed_score(self, run_id: str) -> SeedScore | None:
        """Scores of one evaluation run."""
        return self.session.get(SeedScore, run_id)

    def seed_scores(self, submission_id: str) -> list[SeedScore]:
        """Scores of all seeds of a submission."""
        query = select(SeedScore).where(SeedScore.submission_id == submission_id).order_by(SeedScore.seed)
        return list(self.session.scalars(query))

    def score(self, submission_id: str) -> Score | None:
        """A submission's scores."""
        return self.session.get(Score, submission_id)

    def ranking(self, submission_id: str) -> Ranking | None:
        """Where the last sweep placed an entry."""
        return self.session.get(Ranking, submission_id)

    # --- boards

    def listed_count(self, board: str) -> int:
        """How many entries a board shows."""
        return self.session.scalar(select(func.count()).where(*_listed(board))) or 0

    def listed(
        self,
        board: Board,
        order: Order,
        means: Means,
        *,
        limit: int,
        offset: int,
        tasks: bool = True,
    ) -> list[tuple[Submission, Score, Ranking | None, int]]:
        """One page of a board's entries with the last sweep's ranges and their places among all of them, from 1."""
        query = select(Submission, Score, Ranking).join(Score, Score.submission_id == Submission.id)
        query = query.outerjoin(Ranking, Ranking.submission_id == Submission.id).where(*_listed(board.name))
        query = query.join(Submission.user).options(contains_eager(Submission.user), lazyload(Submission.board))
        query = query.options(defer(Score.task_values), *([] if tasks else [defer(Score.tasks)]))
        if order == Order() and offset == 0:
            rows = self.session.execute(query.order_by(*order.terms(means)).limit(limit))
            return [(*row._tuple(), place) for place, row in enumerate(rows, 1)]
        columns = columns_of(self.session, board, means)
        page = columns.page(order, limit, offset)
        if page is None:
            rows = self.session.execute(query.order_by(*order.terms(means)).limit(limit).offset(offset))
            found = [row._tuple() for row in rows]
        else:
            by_id = {row[0].id: row._tuple() for row in self.session.execute(query.where(Submission.id.in_(page)))}
            found = [by_id[submission] for submission in page if submission in by_id]
        places = columns.places
        return [(*row, places[row[0].id]) for row in found if row[0].id in places]

    def best(self, board: str, means: Means, baselines: list[ColumnElement[bool]]) -> Baseline | None:
        """The highest average among the entries that one of the conditions holds for."""
        # By the index of standings, which ends at the first baseline: a minimum would look at every entry.
        columns = (Score.submission_id, means.standing, Score.seeds, means.sampling_variance)
        query = select(*columns).join(Submission, Submission.id == Score.submission_id).join(Submission.user)
        query = query.where(*_listed(board), or_(*baselines), means.standing < UNRANKED)
        found = self.session.execute(query.order_by(means.standing).limit(1)).first()
        return None if found is None else Baseline(found[0], -found[1], found[2], found[3])

    def unfinished_count(self, board: str) -> int:
        """How many submissions are under way."""
        return self.session.scalar(select(func.count()).where(*_unfinished(board))) or 0

    def unfinished_rows(self, board: str, limit: int) -> list[Submission]:
        """What is still under way, oldest first."""
        query = select(Submission).where(*_unfinished(board)).order_by(Submission.created_at, Submission.id)
        return list(self.session.scalars(query.limit(limit)))


def _listed(board: str) -> list[ColumnElement[Any]]:
    return [Score.board_name == board, Score.listed.is_(True)]


def _unfinished(board: str) -> list[ColumnElement[Any]]:
    return [Submission.board_name == board, Submission.state.not_in(FINAL | {UPLOADING}), ~Submission.rehearsal]
