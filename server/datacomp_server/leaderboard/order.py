"""In which order a board's entries are asked for, as SQL: any column of the leaderboard, gaps always last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Double, ScalarSelect, cast, func, select

from datacomp_server.accounts.models import Team, User
from datacomp_server.leaderboard.models import UNRANKED, Score
from datacomp_server.submissions.models import Submission

RANK = "rank"


@dataclass(frozen=True)
class Means:
    """Which of the two sets of means a board shows now."""

    public: bool

    @property
    def standing(self) -> ColumnElement[Any]:
        """What ranks entries, smallest first."""
        return (Score.public_standing if self.public else Score.standing).expression

    @property
    def average(self) -> ColumnElement[Any]:
        """The average shown."""
        return (Score.public_average if self.public else Score.average).expression

    @property
    def sampling_variance(self) -> ColumnElement[Any]:
        """Of the average shown."""
        return (Score.public_sampling_variance if self.public else Score.sampling_variance).expression

    @property
    def main(self) -> ColumnElement[Any]:
        """The headline task's figure shown."""
        return (Score.public_main if self.public else Score.main).expression

    @property
    def groups(self) -> ColumnElement[Any]:
        """Means by group."""
        return (Score.public_groups if self.public else Score.groups).expression


@dataclass(frozen=True)
class Order:
    """A column and a direction. `key`: `rank`, `method`, `participant`, `subset`, `average`, `main`, `delta`, `date`,
    `group:<name>` or `task:<key>`; anything else is the order of ranks."""

    key: str = RANK
    descending: bool = False

    @property
    def task(self) -> str | None:
        """The task whose score it goes by."""
        kind, _, name = self.key.partition(":")
        return name if kind == "task" else None

    def terms(self, means: Means) -> list[ColumnElement[Any]]:
        """What to order by; equal entries stand in the order of their ranks."""
        ranks: list[ColumnElement[Any]] = [means.standing.asc(), Score.handed_in_at.asc(), Score.submission_id.asc()]
        if self.key == RANK and self.descending:
            turned = (means.standing.desc(), Score.handed_in_at.desc(), Score.submission_id.desc())
            return [means.standing == UNRANKED, *turned]
        column = self._column(means)
        if column is None:
            return ranks
        return [column.is_(None), column.desc() if self.descending else column.asc(), *ranks]

    def _column(self, means: Means) -> ColumnElement[Any] | None:
        kind, _, name = self.key.partition(":")
        match kind:
            case "group":
                return cast(means.groups[name].as_float(), Double)
            case "task":
                return cast(Score.tasks[(name, "value")].as_float(), Double)
        columns: dict[str, ColumnElement[Any]] = {
            "method": func.lower(Submission.method),
            "participant": func.coalesce(_team_name(), User.name_key),
            "subset": Submission.subset_size.expression,
            "average": means.average,
            "delta": means.average,
            "main": means.main,
            "date": Score.handed_in_at.expression,
        }
        return columns.get(self.key)


def _team_name() -> ScalarSelect[str]:
    """Of an entry's team, in lower case; null without one."""
    return select(Team.name_key).where(Team.id == Submission.team_id).correlate(Submission).scalar_subquery()
