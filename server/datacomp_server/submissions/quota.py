"""The quota ledger: reserved when a submission is opened, charged or refunded when it ends.

A submission counts against everybody who stood behind it: its participant, its team, and all who were in that team when
it was opened. A team has used what counts against it or any of its members. So nobody has two allowances on a board,
whoever joins or leaves whom.
"""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import QuotaCount, QuotaNote, QuotaOut, QuotaState
from datacomp.problems import Problem
from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.boards.models import Board
from datacomp_server.clock import now
from datacomp_server.errors import QuotaSpent, Unauthorised
from datacomp_server.submissions.models import QuotaEntry, Submission
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.teams.repository import TeamRepository


@dataclass(frozen=True)
class Party:
    """Whom a submission belongs to: somebody alone, or a team with its members."""

    people: tuple[str, ...]
    """Ids of accounts."""
    team_id: str | None = None


class Quota:
    """Rules of the ledger. Days are UTC; rehearsals have the daily allowance once more, and no total."""

    def __init__(self, session: Session) -> None:
        self.submissions = SubmissionRepository(session)
        self.accounts = AccountRepository(session)
        self.teams = TeamRepository(session)

    def party(self, user_id: str) -> Party:
        """Whom a submission of that account would belong to."""
        membership = self.teams.membership(user_id)
        if membership is None:
            return Party((user_id,))
        return Party(tuple(row.user_id for row in self.teams.members(membership.team_id)), membership.team_id)

    def standing(self, party: Party, board: Board, *, rehearsal: bool = False) -> QuotaOut:
        """What is used and allowed now."""
        day, total, concurrent = self.submissions.quota_used(
            party.people, party.team_id, board, now().date(), rehearsal
        )
        return QuotaOut(
            board=board.name,
            title=board.title,
            rehearsal=rehearsal,
            day=QuotaCount(used=day, limit=board.submissions_per_day),
            total=QuotaCount(used=total, limit=None if rehearsal else board.submissions_total),
            concurrent=QuotaCount(used=concurrent, limit=board.submissions_concurrent),
        )

    def require(self, user_id: str, board: Board, *, rehearsal: bool) -> Party:
        """Hold the account and its team, then raise `QuotaSpent` with all that is used up, or tell whose it will be."""
        user = self.accounts.lock_user(user_id)
        if user is None or user.deleted_at is not None:
            raise Unauthorised.of("token-dead", "the account was deleted meanwhile")
        membership = self.teams.membership(user_id)
        if membership is None:
            party = Party((user_id,))
        else:
            self.teams.lock(membership.team_id)
            party = self.party(user_id)  # anew: the team may have been dissolved meanwhile
        problems = _spent(self.standing(party, board, rehearsal=rehearsal), team=party.team_id is not None)
        if problems:
            refusal = QuotaSpent(*problems)
            refusal.retry_after = _seconds_until(problems)
            raise refusal
        return party

    def reserve(self, submission: Submission) -> None:
        """Note a place taken; `require` was called in this transaction."""
        self.submissions.add(
            QuotaEntry(
                submission_id=submission.id,
                user_id=submission.user_id,
                team_id=submission.team_id,
                board_name=submission.board_name,
                day=submission.created_at.date(),
                rehearsal=submission.rehearsal,
                state=QuotaState.RESERVED,
            )
        )

    def settle(self, submission_id: str, *, refund: bool, reason: str) -> None:
        """Charge or refund a reservation, once."""
        entry = self.submissions.quota(submission_id)
        if entry is None or entry.state is not QuotaState.RESERVED:
            return
        entry.state = QuotaState.REFUNDED if refund else QuotaState.CHARGED
        entry.reason, entry.settled_at = reason, now()

    def note(self, submission: Submission, *, insider: bool) -> QuotaNote | None:
        """What a submission costs; for an `insider` also what is left."""
        entry = self.submissions.quota(submission.id)
        if entry is None:
            return None
        standing = None
        if insider:
            people = (
                tuple(row.user_id for row in self.teams.members(submission.team_id))
                if submission.team_id
                else (submission.user_id,)
            )
            party = Party(people, submission.team_id)
            standing = self.standing(party, submission.board, rehearsal=submission.rehearsal)
        return QuotaNote(state=entry.state, reason=entry.reason, settled_at=entry.settled_at, now=standing)


def _spent(standing: QuotaOut, *, team: bool) -> list[Problem]:
    what = "rehearsals" if standing.rehearsal else "submissions"
    whose = " of your team" if team else ""
    checks = (
        (
            "quota-spent",
            standing.day,
            f"{what}{whose} to {standing.board} are used today",
            "a new day begins at 00:00 UTC; what failed through our fault is given back",
        ),
        (
            "quota-total-spent",
            standing.total,
            f"{what}{whose} to {standing.board} are used in all",
            "what failed through our fault is given back",
        ),
        (
            "quota-concurrent-spent",
            standing.concurrent,
            f"submissions and rehearsals{whose} to {standing.board} are under way",
            "wait until one has ended, or cancel one",
        ),
    )
    return [
        Problem(code=code, message=f"{count.used} of {count.limit} {message}", where="board", hint=hint)
        for code, count, message, hint in checks
        if count.left == 0
    ]


def _seconds_until(problems: list[Problem]) -> int | None:
    """When asking again may help: the next day, where nothing but today's allowance is used up."""
    if [problem.code for problem in problems] != ["quota-spent"]:
        return None
    at = now()
    midnight = dt.datetime.combine(at.date() + dt.timedelta(days=1), dt.time(), dt.UTC)
    return max(math.ceil((midnight - at).total_seconds()), 1)
