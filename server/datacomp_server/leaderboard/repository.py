"""SQL of scores."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp_server.leaderboard.models import Score, SeedScore
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import FINAL, SCORED, UPLOADING


class ScoreRepository:
    """Scores and the rows of a board."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, row: Score | SeedScore) -> None:
        """Insert a row now."""
        self.session.add(row)
        self.session.flush()

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

    def scored_rows(self, board: str) -> list[tuple[Submission, Score]]:
        """What a board shows, the earlier submission first."""
        query = (
            select(Submission, Score)
            .join(Score, Score.submission_id == Submission.id)
            .where(Submission.board_name == board, Submission.state == SCORED, ~Submission.rehearsal)
            .order_by(Submission.created_at, Submission.id)
        )
        return [(submission, score) for submission, score in self.session.execute(query)]

    def unfinished_rows(self, board: str) -> list[Submission]:
        """What is still under way, oldest first."""
        query = select(Submission).where(
            Submission.board_name == board, Submission.state.not_in(FINAL | {UPLOADING}), ~Submission.rehearsal
        )
        return list(self.session.scalars(query.order_by(Submission.created_at)))
