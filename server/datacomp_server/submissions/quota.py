"""The quota ledger: reserved when a submission is opened, charged or refunded when it ends."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp_server.accounts.repository import AccountRepository
from datacomp_server.boards.models import Board
from datacomp_server.clock import now
from datacomp_server.errors import QuotaSpent
from datacomp_server.submissions.models import QuotaEntry, QuotaState, Submission
from datacomp_server.submissions.repository import SubmissionRepository


@dataclass(frozen=True)
class Allowance:
    """What is left of a participant's day on a board."""

    used: int
    limit: int

    @property
    def left(self) -> int:
        """Submissions that may still be opened today."""
        return max(self.limit - self.used, 0)


class Quota:
    """Rules of the ledger. Days are UTC; rehearsals have the same allowance once more."""

    def __init__(self, session: Session) -> None:
        self.submissions = SubmissionRepository(session)
        self.accounts = AccountRepository(session)

    def allowance(self, user_id: str, board: Board, *, rehearsal: bool = False) -> Allowance:
        """Today's use and limit."""
        used = self.submissions.quota_used(user_id, board, now().date(), rehearsal)
        return Allowance(used, board.submissions_per_day)

    def require(self, user_id: str, board: Board, *, rehearsal: bool) -> None:
        """Hold the participant's row, then raise `QuotaSpent` unless a place is left."""
        self.accounts.lock_user(user_id)
        allowance = self.allowance(user_id, board, rehearsal=rehearsal)
        if not allowance.left:
            what = "rehearsals" if rehearsal else "submissions"
            raise QuotaSpent.of(
                "quota-spent",
                f"{allowance.used} of {allowance.limit} {what} to {board.name} are used today",
                where="board",
                hint="a new day begins at 00:00 UTC; what failed through our fault is given back",
            )

    def reserve(self, submission: Submission) -> None:
        """Note a place taken; `require` was called in this transaction."""
        self.submissions.add(
            QuotaEntry(
                submission_id=submission.id,
                user_id=submission.user_id,
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

    def refunded(self, submission_id: str) -> bool:
        """Whether the place was given back."""
        entry = self.submissions.quota(submission_id)
        return entry is not None and entry.state is QuotaState.REFUNDED
