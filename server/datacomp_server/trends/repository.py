"""SQL of methods that were entered at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, String, cast, func, literal, select
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import Team, User
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.order import Means
from datacomp_server.submissions.models import Submission

MOST_ENTRIES = 20_000
"""Entries that are looked at, the newest ones where there are more."""


@dataclass(frozen=True)
class Entry:
    """A scored entry, as far as trends need it."""

    submission: str
    board: str
    method: str
    party: str
    """Whose it is: the same for a team's or a participant's entries."""
    by: str
    average: float | None
    main: float | None
    groups: dict[str, float]
    tasks: dict[str, float]
    seeds: int
    subset_size: int | None
    scored_at: datetime


class TrendRepository:
    """Scores of boards, side by side."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def entries(self, boards: Sequence[str], means: Means, *, method: str | None, tasks: bool) -> list[Entry]:
        """Listed entries of some boards, oldest first: of parties that entered a method of that name at several of
        them, or all whose name holds `method`."""
        key, party = func.lower(Submission.method), _party()
        listed: list[ColumnElement[bool]] = [Score.listed.is_(True), Score.board_name.in_(boards)]
        columns = (
            *(Submission.id, Score.board_name, Submission.method, party, func.coalesce(Team.name, User.name)),
            *(means.average, means.main, means.groups, Score.tasks if tasks else literal(None)),
            *(Score.seeds, Submission.subset_size, Score.created_at),
        )
        query = _joined(select(*columns)).where(*listed)
        if method is None:
            several = _joined(select(key.label("name"), party.label("party"))).where(*listed)
            several = several.group_by(key, party).having(func.count(Score.board_name.distinct()) > 1)
            found = several.subquery()
            query = query.join(found, (found.c.name == key) & (found.c.party == party))
        else:
            query = query.where(key.contains(method.lower(), autoescape=True))
        query = query.order_by(Score.created_at.desc(), Submission.id.desc()).limit(MOST_ENTRIES)
        return [_entry(row) for row in reversed(self.session.execute(query).all())]


def _joined(query: Any) -> Any:
    joined = query.select_from(Score).join(Submission, Submission.id == Score.submission_id)
    return joined.join(User, User.id == Submission.user_id).outerjoin(Team, Team.id == Submission.team_id)


def _party() -> ColumnElement[str]:
    return func.coalesce(cast(literal("team ") + Submission.team_id, String), literal("user ") + Submission.user_id)


def _entry(row: Any) -> Entry:
    submission, board, method, party, by, average, main, groups, tasks, seeds, size, at = row
    values = {key: found["value"] for key, found in (tasks or {}).items() if found.get("value") is not None}
    return Entry(submission, board, method, party, by, average, main, groups or {}, values, seeds, size, at)
