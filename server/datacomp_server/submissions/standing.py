"""How an entry stands on its board, for its receipt: its rank range, and how far it lies from the best baseline."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from datacomp.messages import BestBaseline, ScoreOut
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.order import Means
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.service import Pinned
from datacomp_server.leaderboard.spread import Baseline, Spread
from datacomp_server.leaderboard.sweeps import SweepRepository
from datacomp_server.leaderboard.visibility import shown
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.repository import SubmissionRepository


class Standings:
    """Reads what a receipt tells of an entry among the others."""

    def __init__(self, session: Session) -> None:
        self.scores = ScoreRepository(session)
        self.sweeps = SweepRepository(session)
        self.submissions = SubmissionRepository(session)

    def stand(self, submission: Submission, score: Score, out: ScoreOut) -> ScoreOut:
        """The scores with their standing, by the tasks that they show; as they are for what no board lists."""
        if not score.listed:
            return out
        means = Means(public=bool(out.withheld))
        pinned = Pinned.of(submission.board)
        best = self.scores.best(submission.board_name, means, pinned.accounts, pinned.submissions)
        placed = self._placed(submission, means) if out.average is not None else {}
        return out.model_copy(update={**placed, **(self._against(submission, score, out, best) if best else {})})

    def _placed(self, submission: Submission, means: Means) -> dict[str, Any]:
        sweep, found = self.sweeps.last(submission.board_name), self.scores.ranking(submission.id)
        if found is None or not found.lo or sweep is None or sweep.public != means.public:
            return {}
        return {"rank_lo": found.lo, "rank_hi": found.hi, "ranked": sweep.ranked}

    def _against(self, submission: Submission, score: Score, out: ScoreOut, best: Baseline) -> dict[str, Any]:
        row, theirs = self.submissions.get(best.submission), self.scores.score(best.submission)
        if row is None or theirs is None or out.average is None:
            return {}
        between = Spread(SeedDeviation.of(submission.board)).delta(submission.id, shown(score, out.withheld), best)
        baseline = BestBaseline(
            submission=row.id,
            method=row.method,
            delta=out.average - best.average,
            lo=between.lo if between else None,
            hi=between.hi if between else None,
        )
        values = {key: found.get("value") for key, found in shown(theirs, out.withheld).tasks.items()}
        tasks = [
            task.model_copy(update={"delta_to_baseline": _difference(task.value, values.get(task.task))})
            for task in out.tasks
        ]
        return {"baseline": baseline, "tasks": tasks}


def _difference(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other
