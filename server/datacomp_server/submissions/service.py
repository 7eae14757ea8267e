"""Rules of submissions: opening, the upload, reading the receipt, stopping and withdrawing."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.orm import Session

from datacomp.messages import EventOut, ManifestOut, RunState, SubmissionCreate, SubmissionOut
from datacomp.problems import raise_if_any
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.service import BoardService
from datacomp_server.errors import Conflict, Forbidden, NotFound
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.visibility import withheld
from datacomp_server.runs.hours import HoursRepository
from datacomp_server.runs.lifecycle import Lifecycle
from datacomp_server.runs.queue import QueueService
from datacomp_server.runs.repository import RunRepository
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.streaming import Received
from datacomp_server.submissions.manifest import build_manifest
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.opening import opening_problems
from datacomp_server.submissions.quota import Quota
from datacomp_server.submissions.receipts import receipt_url, score_out, submission_out
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.schemas import ExpectedUpload, SubmissionLine
from datacomp_server.submissions.states import CANCELLED, FINAL, SCORED, UPLOADING, WITHDRAWN

UPLOAD_NAME = "content"


class SubmissionService:
    """Everything that people do with submissions."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.hours = HoursRepository(session)
        self.submissions = SubmissionRepository(session)
        self.runs = RunRepository(session)
        self.scores = ScoreRepository(session)
        self.boards = BoardService(session)
        self.queue = QueueService(session, settings)
        self.quota = Quota(session)
        self.lifecycle = Lifecycle(session, settings, storage)

    # --- handing in

    def open(self, viewer: Viewer, create: SubmissionCreate) -> SubmissionOut:
        """Open a submission and reserve its place in the quota; the file follows.

        Raises `NotFound` for an unknown board, `BadInput` with everything that is wrong, `QuotaSpent`.
        """
        if viewer.role is Role.WORKER:
            raise Forbidden.of("workers-do-not-submit", "a worker's account cannot take part")
        board = self.boards.row(create.board)
        raise_if_any(opening_problems(board, create))
        self.quota.require(viewer.user_id, board, rehearsal=create.rehearsal)
        submission = Submission(board_name=board.name, user_id=viewer.user_id, kind=create.kind, state=UPLOADING)
        submission.method, submission.description = create.method.strip(), create.description
        submission.link, submission.filename = create.link, create.filename
        submission.digest, submission.size, submission.rehearsal = create.digest, create.size, create.rehearsal
        pinned = {name.lower() for name in board.baseline_accounts}
        submission.baseline = viewer.organiser or viewer.name.lower() in pinned
        self.submissions.add(submission)
        self.quota.reserve(submission)
        self.lifecycle.open(submission, _actor(viewer))
        return self._receipt(submission, viewer)

    def expect_upload(self, viewer: Viewer, submission_id: str) -> ExpectedUpload:
        """What must arrive. Asked before the bytes are read; `Conflict` once the submission ended without them."""
        submission = self._changeable(viewer, self._row(submission_id))
        self._check_awaits_upload(submission)
        confirmed = submission.uploaded_at is not None
        key = f"uploads/{submission.id}/{UPLOAD_NAME}"
        return ExpectedUpload(key, submission.size, submission.digest, confirmed)

    def confirm_upload(self, viewer: Viewer, submission_id: str, received: Received) -> SubmissionOut:
        """The file is stored: plan the runs and queue the first. Confirming the same file again changes nothing."""
        submission = self._changeable(viewer, self._lock(submission_id))
        expected = self.expect_upload(viewer, submission_id)
        expected.check(received)
        if not expected.confirmed:
            file = StoredFile(submission_id=submission.id, name=UPLOAD_NAME, key=expected.key, promoted=True)
            file.digest, file.size = received.digest, received.size
            self.submissions.add(file)
            self.lifecycle.begin(submission, _actor(viewer))
        return self._receipt(submission, viewer)

    # --- reading

    def receipt(self, submission_id: str, viewer: Viewer | None) -> SubmissionOut:
        """The receipt, for whoever knows its unguessable id; logs of participants' code are theirs alone."""
        return self._receipt(self._row(submission_id), viewer)

    def list_own(self, viewer: Viewer, *, limit: int = 200, offset: int = 0) -> list[SubmissionLine]:
        """The viewer's submissions, newest first, in whatever state."""
        return [self._line(row) for row in self.submissions.of_user(viewer.user_id, limit, offset)]

    def manifest(self, submission_id: str, viewer: Viewer | None) -> ManifestOut:
        """Everything that the result depends on, by digest; `Conflict` while there is no result."""
        submission = self._row(submission_id)
        score = self.scores.score(submission.id)
        if score is None or submission.state not in {SCORED, WITHDRAWN}:
            raise Conflict.of(
                "manifest-not-yet",
                f"there is no result to account for: the submission is {submission.state}",
                where=submission.id,
                hint="the manifest is there once the submission is scored",
            )
        runs = self.runs.of_submission(submission.id)
        files = self.submissions.promoted([run.id for run in runs])
        seeds = self.scores.seed_scores(submission.id)
        return build_manifest(submission, runs, files, score, seeds, hidden=_hidden(submission, viewer))

    def history(self, submission_id: str, last: int) -> list[EventOut]:
        """The history after an event's id, in order."""
        return [
            EventOut(
                id=event.id,
                at=event.at,
                submission=event.submission_id,
                run=event.run_id,
                stage=event.stage,
                what=event.what,
                before=event.before,
                after=event.after,
                actor=event.actor,
                reason=event.reason,
            )
            for event in self.submissions.events_after(submission_id, last)
        ]

    # --- ends

    def cancel(self, viewer: Viewer, submission_id: str) -> SubmissionOut:
        """Stop a submission; saying so twice is as good as once. `Conflict` when it ended otherwise."""
        submission = self._changeable(viewer, self._lock(submission_id))
        if submission.state in FINAL - {CANCELLED}:
            raise Conflict.of(
                "already-final",
                f"the submission is {submission.state} and cannot be cancelled",
                where=submission.id,
                hint="a scored submission can be withdrawn",
            )
        if submission.state != CANCELLED:
            self.lifecycle.cancel(submission, _actor(viewer), f"cancelled by {viewer.name}")
        return self._receipt(submission, viewer)

    def withdraw(self, viewer: Viewer, submission_id: str) -> SubmissionOut:
        """Take a scored submission off its board; saying so twice is as good as once."""
        submission = self._changeable(viewer, self._lock(submission_id))
        if submission.state not in {SCORED, WITHDRAWN}:
            raise Conflict.of(
                "not-scored",
                f"the submission is {submission.state}; only a scored one can be withdrawn",
                where=submission.id,
                hint="one that is under way can be cancelled",
            )
        if submission.state != WITHDRAWN:
            self.lifecycle.withdraw(submission, _actor(viewer), f"withdrawn by {viewer.name}")
        return self._receipt(submission, viewer)

    def cancel_stale_upload(self, submission_id: str, before: datetime) -> bool:
        """Cancel a submission whose file never came; False when it came after all."""
        submission = self._lock(submission_id)
        if submission.state != UPLOADING or submission.created_at >= before:
            return False
        self.lifecycle.cancel(submission, DISPATCHER, "the file never came")
        return True

    # --- inside

    def _row(self, submission_id: str) -> Submission:
        return _found(self.submissions.get(submission_id), submission_id)

    def _lock(self, submission_id: str) -> Submission:
        return _found(self.submissions.lock(submission_id), submission_id)

    @staticmethod
    def _changeable(viewer: Viewer, submission: Submission) -> Submission:
        if not may_change(viewer, submission):
            raise Forbidden.of(
                "not-yours", "only its participant or an organiser may change a submission", where=submission.id
            )
        return submission

    @staticmethod
    def _check_awaits_upload(submission: Submission) -> None:
        if submission.uploaded_at is None and submission.state != UPLOADING:
            raise Conflict.of(
                "upload-too-late",
                f"the submission is {submission.state}: its file is not awaited any more",
                where=submission.id,
                hint="open a new submission",
            )

    def _receipt(self, submission: Submission, viewer: Viewer | None) -> SubmissionOut:
        runs = self.runs.of_submission(submission.id)
        running = [run.id for run in runs if run.state is RunState.RUNNING]
        attempts = self.runs.open_attempts(running) if running else []
        score = self.scores.score(submission.id)
        return submission_out(
            submission,
            runs,
            public_url=self.settings.public_url,
            deadlines={attempt.run_id: attempt.lease_until for attempt in attempts},
            hours=self.hours.of_runs([run.id for run in runs]),
            notes=self.queue.notes(runs),
            refunded=self.quota.refunded(submission.id),
            score=score_out(score, BoardService.suite_of(submission.board), _hidden(submission, viewer))
            if score
            else None,
            insider=viewer is not None and may_change(viewer, submission),
        )

    def _line(self, submission: Submission) -> SubmissionLine:
        return SubmissionLine(
            id=submission.id,
            url=receipt_url(self.settings.public_url, submission.id),
            method=submission.method,
            board=submission.board_name,
            kind=submission.kind,
            state=submission.state,
            final=submission.state in FINAL,
            rehearsal=submission.rehearsal,
            created_at=submission.created_at,
            subset_size=submission.subset_size,
        )


def may_change(viewer: Viewer, submission: Submission) -> bool:
    """Whether the viewer owns it or is an organiser."""
    return viewer.organiser or viewer.user_id == submission.user_id


def _found(submission: Submission | None, submission_id: str) -> Submission:
    if submission is None:
        raise NotFound.of("submission-unknown", "there is no such submission", where=submission_id)
    return submission


def _hidden(submission: Submission, viewer: Viewer | None) -> list[str]:
    """Private tasks that this viewer may not see the scores of yet."""
    return [] if viewer is not None and viewer.organiser else withheld(submission.board)


def _actor(viewer: Viewer) -> str:
    return f"{viewer.role.value}:{viewer.name}"
