"""What organisers do to submissions of everybody: looked at first, then done, at the console or signed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datacomp.messages import QuotaState, RunState
from datacomp_server.audit.service import Act, Actor, Audit
from datacomp_server.errors import Conflict, NotFound
from datacomp_server.runs.lifecycle import Lifecycle
from datacomp_server.runs.models import Run
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.transitions import FINAL as FINAL_RUN
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.states import FAILED, FINAL, SCORED


@dataclass(frozen=True)
class Rule:
    """In which states something may be done, and what does it."""

    fits: Callable[[str], bool]
    change: Callable[[Lifecycle, Submission, str, str], None]
    wants: str
    """The states, in words."""


RULES: dict[Act, Rule] = {
    Act.SUBMISSION_CANCELLED: Rule(lambda state: state not in FINAL, Lifecycle.cancel, "one that is under way"),
    Act.SUBMISSION_REQUEUED: Rule(lambda state: state == FAILED, Lifecycle.requeue, "a failed one"),
    Act.SUBMISSION_WITHDRAWN: Rule(lambda state: state == SCORED, Lifecycle.withdraw, "a scored one"),
}


@dataclass(frozen=True)
class Outlook:
    """What an act would do to one submission now."""

    id: str
    method: str
    participant: str
    board: str
    state: str
    possible: bool
    effects: tuple[str, ...]
    """What becomes of its runs and its quota."""


class SubmissionActs:
    """Acts on submissions, in the caller's transaction."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.submissions = SubmissionRepository(session)
        self.runs = RunRepository(session)
        self.audit = Audit(session, settings)
        self.lifecycle = Lifecycle(session, settings, storage)

    def look(self, act: Act, ids: Sequence[str]) -> list[Outlook]:
        """What the act would do, in the order given; `NotFound` for an unknown submission."""
        return [self._outlook(act, _found(self.submissions.get(one), one)) for one in dict.fromkeys(ids)]

    def carry_out(self, act: Act, submission_id: str, actor: Actor, reason: str) -> Submission:
        """Do it, and note it; `Conflict` in the wrong state, `NotFound`."""
        rule = RULES[act]
        row = _found(self.submissions.lock(submission_id), submission_id)
        if not rule.fits(row.state):
            raise wrong_state(act, row.id, row.state)
        rule.change(self.lifecycle, row, actor.name, reason)
        self.audit.note(act, actor=actor.user_id, subject=row.user_id, about=row.id, reason=reason)
        return row

    def _outlook(self, act: Act, row: Submission) -> Outlook:
        possible = RULES[act].fits(row.state)
        effects = self._effects(act, row) if possible else ()
        return Outlook(row.id, row.method, row.user.name, row.board_name, row.state, possible, effects)

    def _effects(self, act: Act, row: Submission) -> tuple[str, ...]:
        runs = self.runs.of_submission(row.id)
        if act is Act.SUBMISSION_WITHDRAWN:
            return ("leaves the board",)
        if act is Act.SUBMISSION_REQUEUED:
            told = [f"{name_of(run)} is queued, with all attempts anew" for run in runs if run.state is RunState.FAILED]
            waiting = sum(run.state is RunState.CANCELLED for run in runs)
            return (*told, *([f"{waiting} after it wait again"] if waiting else []), "its quota stays as it is")
        stopped = [run for run in runs if run.state not in FINAL_RUN]
        running = [f"{name_of(run)} is stopped on {run.worker}" for run in stopped if run.state is RunState.RUNNING]
        others = len(stopped) - len(running)
        entry = self.submissions.quota(row.id)
        back = all(run.attempt_count == 0 for run in runs) and entry is not None and entry.state is QuotaState.RESERVED
        quota = "its quota comes back" if back else "its quota stays used"
        return (*running, *([f"{others} that wait are dropped"] if others else []), quota)


def name_of(run: Run) -> str:
    """Stage and seed of a run."""
    return f"{run.stage.value}, seed {run.seed}" if run.seed else run.stage.value


def wrong_state(act: Act, submission_id: str, state: str) -> Conflict:
    """The refusal of an act that a submission's state does not allow."""
    message = f"the submission is {state}; this can be done to {RULES[act].wants} only"
    return Conflict.of("wrong-state", message, where=submission_id)


def _found(row: Submission | None, submission_id: str) -> Submission:
    if row is None:
        raise NotFound.of("submission-unknown", "there is no such submission", where=submission_id)
    return row
