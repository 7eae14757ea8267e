"""SQL of scores."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, union_all
from sqlalchemy.orm import Session, contains_eager, lazyload, load_only
from sqlalchemy.sql.base import ExecutableOption

from datacomp.messages import RunState
from datacomp_server.accounts.models import Team, User
from datacomp_server.boards.models import Board
from datacomp_server.database import among
from datacomp_server.leaderboard.columns import Columns, columns_of
from datacomp_server.leaderboard.models import UNRANKED, RankChange, Ranking, Score, SeedScore
from datacomp_server.leaderboard.order import Means, Order
from datacomp_server.leaderboard.spread import Baseline
from datacomp_server.runs.models import Run
from datacomp_server.runs.transitions import FINAL as FINAL_RUN
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import FINAL, UPLOADING

Listed = tuple[Submission, Score, Ranking | None, int]
"""An entry of a board, with the last sweep's ranges and its place among all entries, from 1."""


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

    def listed(
        self,
        board: Board,
        order: Order,
        means: Means,
        *,
        limit: int,
        offset: int,
        tasks: bool = True,
        words: Sequence[str] = (),
    ) -> tuple[list[Listed], int]:
        """One page of a board's entries, and how many there are in all: of those that have all the `words` in the names
        of method, participant and team."""
        query = select(Submission, Score, Ranking).join(Score, Score.submission_id == Submission.id)
        query = query.outerjoin(Ranking, Ranking.submission_id == Submission.id).where(*_listed(board.name))
        query = query.join(Submission.user).options(*_shown_columns(means, tasks=tasks))
        if order == Order() and offset == 0 and not words:
            rows = self.session.execute(query.order_by(*order.terms(means)).limit(limit))
            return [(*row, place) for place, row in enumerate(rows, 1)], self._listed_count(board.name)
        columns = columns_of(self.session, board, means)
        if words:
            return self._matching(query.where(*_named(words)).order_by(*order.terms(means)), columns, limit, offset)
        page = columns.page(order, limit, offset)
        if page is None:
            rows = self.session.execute(query.order_by(*order.terms(means)).limit(limit).offset(offset))
            found = list(rows)
        else:
            among_them = among(self.session, Submission.id.expression, page)
            by_id = {row[0].id: row for row in self.session.execute(query.where(among_them))}
            found = [by_id[submission] for submission in page if submission in by_id]
        places = columns.places
        return [(*row, places[row[0].id]) for row in found if row[0].id in places], len(columns.ids)

    def _matching(
        self, query: Select[Submission, Score, Ranking], columns: Columns, limit: int, offset: int
    ) -> tuple[list[Listed], int]:
        found = query.with_only_columns(Submission.id).order_by(None).subquery()
        total = self.session.scalar(select(func.count()).select_from(found)) or 0
        rows = self.session.execute(query.limit(limit).offset(offset)) if total else ()
        return [(*row, columns.places[row[0].id]) for row in rows if row[0].id in columns.places], total

    def _listed_count(self, board: str) -> int:
        """How many entries a board shows."""
        return self.session.scalar(select(func.count()).where(*_listed(board))) or 0

    def best(self, board: str, means: Means, accounts: Collection[str], named: Collection[str]) -> Baseline | None:
        """The highest average among entries of organisers, of accounts (lower-case names) and those `named` by id."""
        # From the few baselines to their scores: from the scores it would take many to meet one.
        ids = select(Submission.id).where(Submission.board_name == board)
        pinned = [ids.where(Submission.baseline.is_(True))]
        if accounts:
            pinned.append(ids.join(Submission.user).where(User.name_key.in_(accounts)))
        if named:
            pinned.append(ids.where(Submission.id.in_(named)))
        columns = (Score.submission_id, means.standing, Score.seeds, means.sampling_variance)
        query = select(*columns).where(Score.submission_id.in_(union_all(*pinned)))
        query = query.where(*_listed(board), means.standing < UNRANKED)
        found = self.session.execute(query.order_by(means.standing).limit(1)).first()
        return None if found is None else Baseline(found[0], -found[1], found[2], found[3])

    def unfinished_count(self, board: str) -> int:
        """How many submissions are under way."""
        return self.session.scalar(select(func.count()).where(*_unfinished(board))) or 0

    def unfinished_rows(self, board: str, limit: int) -> list[Submission]:
        """What is still under way, oldest first."""
        query = select(Submission).join(Submission.user).where(*_unfinished(board)).options(*_of_submissions())
        return list(self.session.scalars(query.order_by(Submission.created_at, Submission.id).limit(limit)))


def _shown_columns(means: Means, *, tasks: bool) -> list[ExecutableOption]:
    """What rows of a board are made of, and no more. Of the scores of all `tasks` their packed values, which are read a
    hundred times as fast."""
    public = (Score.public_average, Score.public_main, Score.public_groups, Score.public_variances)
    scores = public if means.public else (Score.average, Score.main, Score.groups, Score.variances)
    return [load_only(Score.seeds, *scores, *([Score.task_values] if tasks else [])), *_of_submissions()]


def _of_submissions() -> list[ExecutableOption]:
    """What rows show of submissions: not each its board and suite, which are large."""
    whose = (Submission.user_id, Submission.team_id, Submission.board_name, Submission.baseline)
    what = (Submission.method, Submission.kind, Submission.state, Submission.subset_size, Submission.duplicate_of)
    return [
        load_only(*whose, *what, Submission.created_at),
        contains_eager(Submission.user).load_only(User.name),
        lazyload(Submission.board),
    ]


def _listed(board: str) -> list[ColumnElement[Any]]:
    return [Score.board_name == board, Score.listed.is_(True)]


def _named(words: Sequence[str]) -> list[ColumnElement[bool]]:
    """Whether an entry's names have every word, in small letters or capitals."""
    team = select(Team.name).where(Team.id == Submission.team_id).correlate(Submission).scalar_subquery()
    names = (Submission.method.expression, User.name.expression, team)
    return [or_(*(name.icontains(word, autoescape=True) for name in names)) for word in words]


def _unfinished(board: str) -> list[ColumnElement[Any]]:
    # Runs that are not over are few; of submissions, most are over.
    under_way = select(Run.submission_id).where(Run.state.in_(sorted(set(RunState) - FINAL_RUN)))
    is_on_board = (Submission.board_name == board, ~Submission.rehearsal, Submission.state.not_in(FINAL | {UPLOADING}))
    return [Submission.id.in_(under_way), *is_on_board]
