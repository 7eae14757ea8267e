"""GPU and processor hours of attempts, lost ones too, summed per run, submission, team and board."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy import select
from sqlalchemy.orm import Session

from datacomp_server.accounts.models import Team, User
from datacomp_server.runs.models import Attempt, Run
from datacomp_server.submissions.models import Submission

HOUR = 3600.0
GPU = "cuda"


@dataclass(frozen=True)
class Hours:
    """GPUs held, times wall clock; and processor time."""

    gpu: float = 0.0
    cpu: float = 0.0

    def __add__(self, other: Hours) -> Hours:
        return Hours(self.gpu + other.gpu, self.cpu + other.cpu)


class GroupBy(StrEnum):
    """What hours are summed by."""

    BOARD = "board"
    TEAM = "team"
    """The team, or the participant where there is none."""
    PARTICIPANT = "participant"
    SUBMISSION = "submission"
    STAGE = "stage"
    WORKER = "worker"


@dataclass(frozen=True)
class HoursLine:
    """One line of the account."""

    name: str
    hours: Hours
    attempts: int
    lost: int
    """Attempts that came to nothing."""


class HoursRepository:
    """SQL of the account. Runs that took over finished work have no attempts, and cost nothing."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def of_runs(self, run_ids: Sequence[str]) -> dict[str, Hours]:
        """Hours by run; runs that were never attempted are left out."""
        if not run_ids:
            return {}
        query = select(Attempt.run_id, *_sums()).where(Attempt.run_id.in_(run_ids)).group_by(Attempt.run_id)
        return {run: Hours(gpu / HOUR, cpu / HOUR) for run, gpu, cpu in self.session.execute(query)}

    def lines(self, by: GroupBy, since: datetime | None = None) -> list[HoursLine]:
        """The account of attempts that began after a time, the dearest first."""
        name = _name(by)
        lost = sa.func.sum(sa.case((Attempt.state.in_(["lost", "failed", "cancelled"]), 1), else_=0))
        query = (
            select(name, *_sums(), sa.func.count(), lost)
            .join_from(Attempt, Run, Attempt.run_id == Run.id)
            .join(Submission, Run.submission_id == Submission.id)
            .join(User, Submission.user_id == User.id)
            .outerjoin(Team, Submission.team_id == Team.id)
            .group_by(name)
        )
        if since is not None:
            query = query.where(Attempt.started_at >= since)
        lines = [
            HoursLine(str(key), Hours(gpu / HOUR, cpu / HOUR), attempts, failed)
            for key, gpu, cpu, attempts, failed in self.session.execute(query)
        ]
        return sorted(lines, key=lambda line: (-line.hours.gpu, -line.hours.cpu, line.name))


def _sums() -> tuple[sa.ColumnElement[float], sa.ColumnElement[float]]:
    held = sa.case((Attempt.device == GPU, Attempt.seconds * Attempt.device_count), else_=0.0)
    return sa.func.sum(held), sa.func.sum(Attempt.cpu_seconds)


def _name(by: GroupBy) -> sa.ColumnElement[Any] | Any:
    match by:
        case GroupBy.BOARD:
            return Submission.board_name
        case GroupBy.TEAM:
            return sa.func.coalesce(Team.name, User.name)
        case GroupBy.PARTICIPANT:
            return User.name
        case GroupBy.SUBMISSION:
            return Submission.id
        case GroupBy.STAGE:
            return Run.stage
        case GroupBy.WORKER:
            return Attempt.worker
