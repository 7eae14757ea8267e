"""Rules of submissions: opening, the upload, reading the receipt, stopping and withdrawing."""

from __future__ import annotations

from sqlalchemy.orm import Session

from datacomp.messages import (
    EventOut,
    ManifestOut,
    QuotaOut,
    RunState,
    ScoreOut,
    SubmissionCreate,
    SubmissionKind,
    SubmissionLine,
    SubmissionOut,
)
from datacomp.problems import Problem, raise_if_any
from datacomp_server.accounts.models import Role
from datacomp_server.accounts.service import Viewer
from datacomp_server.audit.service import Act, Audit
from datacomp_server.boards.deviation import SeedDeviation
from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.errors import Conflict, Forbidden, Gone, NotFound
from datacomp_server.leaderboard.models import Score
from datacomp_server.leaderboard.repository import ScoreRepository
from datacomp_server.leaderboard.spread import Spread
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
from datacomp_server.submissions.overlaps import SketchRepository, overlaps
from datacomp_server.submissions.quota import Quota
from datacomp_server.submissions.receipts import receipt_url, score_out, submission_out
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.schemas import ExpectedUpload
from datacomp_server.submissions.standing import Standings
from datacomp_server.submissions.states import CANCELLED, FINAL, SCORED, UPLOADING, WITHDRAWN

UPLOAD_NAME = "content"


class SubmissionService:
    """Everything that people do with submissions."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.settings, self.storage = settings, storage
        self.submissions = SubmissionRepository(session)
        self.sketches = SketchRepository(session)
        self.runs = RunRepository(session)
        self.hours = HoursRepository(session)
        self.scores = ScoreRepository(session)
        self.places = Standings(session)
        self.boards = BoardService(session)
        self.queue = QueueService(session, settings)
        self.quota = Quota(session)
        self.audit = Audit(session, settings)
        self.lifecycle = Lifecycle(session, settings, storage)

    # --- handing in

    def open(self, viewer: Viewer, create: SubmissionCreate) -> SubmissionOut:
        """Open a submission and reserve its place in the quota; the file follows.

        Raises `NotFound` for an unknown board, `BadInput` with everything that is wrong, `QuotaSpent`.
        """
        if viewer.role is Role.WORKER:
            raise Forbidden.of("workers-do-not-submit", "a worker's account cannot take part")
        board = self.boards.row(create.board)
        raise_if_any([*opening_problems(board, create), *self._code_problems(board, create.kind)])
        self.storage.require_room(2 * create.size)  # its pieces, and the file made of them
        party = self.quota.require(viewer.user_id, board, rehearsal=create.rehearsal)
        submission = Submission(board_name=board.name, user_id=viewer.user_id, kind=create.kind, state=UPLOADING)
        submission.team_id = party.team_id
        submission.method, submission.description = create.method.strip(), create.description
        submission.link, submission.filename = create.link, create.filename
        submission.digest, submission.size, submission.rehearsal = create.digest, create.size, create.rehearsal
        pinned = {name.lower() for name in board.baseline_accounts}
        submission.baseline = viewer.organiser or viewer.name.lower() in pinned
        self.submissions.add(submission)
        self.quota.reserve(submission)
        self.lifecycle.open(submission, _actor(viewer))
        return self._receipt(submission, viewer)

    def _code_problems(self, board: Board, kind: SubmissionKind) -> list[Problem]:
        """What is wrong with handing in code while all live workers say that they cannot run any."""
        reason = self.queue.no_code(board.data_queue) if kind is SubmissionKind.CODE else ""
        if not reason:
            return []
        message = f"no worker can run filter code now: {reason}"
        hint = "hand in an expression, or the uids that the filter keeps; organisers: see docs/sandbox.md"
        return [Problem(code="sandbox-missing", message=message, where="kind", hint=hint)]

    def expect_upload(self, viewer: Viewer, submission_id: str) -> ExpectedUpload:
        """What must arrive. Asked before the bytes are read; `Gone` once the submission ended without them."""
        return self._expected(self._changeable(viewer, self._row(submission_id)))

    def hold_upload(self, viewer: Viewer, submission_id: str) -> ExpectedUpload:
        """As `expect_upload`; nobody else changes the submission until this transaction ends."""
        return self._expected(self._changeable(viewer, self.lock(submission_id)))

    def confirm_upload(self, viewer: Viewer, submission_id: str, received: Received) -> SubmissionOut:
        """The file is stored: plan the runs and queue the first. Confirming the same file again changes nothing."""
        submission = self._changeable(viewer, self.lock(submission_id))
        expected = self._expected(submission)
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

    def list_own(
        self, viewer: Viewer, *, limit: int = 200, offset: int = 0, digest: str | None = None, state: str | None = None
    ) -> list[SubmissionLine]:
        """Submissions of the viewer and their team, newest first; only those of a file or a state, if one is given."""
        rows = self.submissions.of_party(viewer.user_id, viewer.team_id, limit, offset, digest=digest, state=state)
        return [self._line(row) for row in rows]

    def standings(self, viewer: Viewer) -> list[QuotaOut]:
        """What counts against the viewer, or the viewer's team, on boards that take submissions."""
        party = self.quota.party(viewer.user_id)
        return [
            self.quota.standing(party, board, rehearsal=rehearsal)
            for board in self.boards.open_rows()
            for rehearsal in (False, True)
        ]

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
        made = self.runs.attempts([run.reused_from or run.id for run in runs])
        attempts = {run.id: [one for one in made if one.run_id == (run.reused_from or run.id)] for run in runs}
        seeds = self.scores.seed_scores(submission.id)
        return build_manifest(submission, runs, files, attempts, score, seeds, hidden=_hidden(submission, viewer))

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
        submission = self._changeable(viewer, self.lock(submission_id))
        if submission.state in FINAL - {CANCELLED}:
            raise Conflict.of(
                "already-final",
                f"the submission is {submission.state} and cannot be cancelled",
                where=submission.id,
                hint="a scored submission can be withdrawn",
            )
        if submission.state != CANCELLED:
            self._note_organiser(viewer, submission, Act.SUBMISSION_CANCELLED)
            self.lifecycle.cancel(submission, _actor(viewer), f"cancelled by {viewer.name}")
        return self._receipt(submission, viewer)

    def withdraw(self, viewer: Viewer, submission_id: str) -> SubmissionOut:
        """Take a scored submission off its board; saying so twice is as good as once."""
        submission = self._changeable(viewer, self.lock(submission_id))
        if submission.state not in {SCORED, WITHDRAWN}:
            raise Conflict.of(
                "not-scored",
                f"the submission is {submission.state}; only a scored one can be withdrawn",
                where=submission.id,
                hint="one that is under way can be cancelled",
            )
        if submission.state != WITHDRAWN:
            self._note_organiser(viewer, submission, Act.SUBMISSION_WITHDRAWN)
            self.lifecycle.withdraw(submission, _actor(viewer), f"withdrawn by {viewer.name}")
        return self._receipt(submission, viewer)

    def lock(self, submission_id: str) -> Submission:
        """The submission, held until this transaction ends; `NotFound`."""
        return _found(self.submissions.lock(submission_id), submission_id)

    # --- inside

    def _row(self, submission_id: str) -> Submission:
        return _found(self.submissions.get(submission_id), submission_id)

    def _note_organiser(self, viewer: Viewer, submission: Submission, act: Act) -> None:
        """What organisers do to others' submissions is noted in the audit log."""
        if not belongs_to(viewer, submission):
            self.audit.note(act, actor=viewer.user_id, subject=submission.user_id, about=submission.id)

    @staticmethod
    def _changeable(viewer: Viewer, submission: Submission) -> Submission:
        if not may_change(viewer, submission):
            raise Forbidden.of(
                "not-yours",
                "only its participant, its team or an organiser may change a submission",
                where=submission.id,
            )
        return submission

    @staticmethod
    def _expected(submission: Submission) -> ExpectedUpload:
        if submission.uploaded_at is None and submission.state != UPLOADING:
            raise Gone.of(
                "upload-too-late",
                f"the submission is {submission.state}: its file is not awaited any more",
                where=submission.id,
                hint="open a new submission",
            )
        return ExpectedUpload(
            key=f"uploads/{submission.id}/{UPLOAD_NAME}",
            size=submission.size,
            digest=submission.digest,
            opened_at=submission.created_at,
            confirmed=submission.uploaded_at is not None,
        )

    def _receipt(self, submission: Submission, viewer: Viewer | None) -> SubmissionOut:
        insider = viewer is not None and may_look_inside(viewer, submission)
        runs = self.runs.of_submission(submission.id)
        running = [run.id for run in runs if run.state is RunState.RUNNING]
        attempts = self.runs.open_attempts(running) if running else []
        score = self.scores.score(submission.id)
        return submission_out(
            submission,
            runs,
            public_url=self.settings.public_url,
            deadlines={attempt.run_id: attempt.lease_until for attempt in attempts},
            notes=self.queue.notes(runs),
            hours=self.hours.of_runs([run.id for run in runs]),
            quota=self.quota.note(submission, insider=insider),
            score=self.places.stand(submission, score, _score(score, submission, viewer)) if score else None,
            overlaps=overlaps(self.sketches, submission, self.settings.public_url),
            insider=insider,
        )

    def _line(self, submission: Submission) -> SubmissionLine:
        return SubmissionLine(
            id=submission.id,
            url=receipt_url(self.settings.public_url, submission.id),
            method=submission.method,
            board=submission.board_name,
            kind=submission.kind,
            digest=submission.digest,
            size=submission.size,
            state=submission.state,
            final=submission.state in FINAL,
            rehearsal=submission.rehearsal,
            created_at=submission.created_at,
            subset_size=submission.subset_size,
        )


def belongs_to(viewer: Viewer, submission: Submission) -> bool:
    """Whether it is the viewer's own, or their team's."""
    if submission.team_id is not None:
        return viewer.team_id == submission.team_id
    return viewer.user_id == submission.user_id


def may_change(viewer: Viewer, submission: Submission) -> bool:
    """Whether it belongs to the viewer, or the viewer is an organiser."""
    return viewer.organiser or belongs_to(viewer, submission)


def may_look_inside(viewer: Viewer, submission: Submission) -> bool:
    """Whether the viewer may see its private parts: also its participant, who may have left the team."""
    return may_change(viewer, submission) or viewer.user_id == submission.user_id


def _found(submission: Submission | None, submission_id: str) -> Submission:
    if submission is None:
        raise NotFound.of("submission-unknown", "there is no such submission", where=submission_id)
    return submission


def _score(score: Score, submission: Submission, viewer: Viewer | None) -> ScoreOut:
    suite, spread = BoardService.suite_of(submission.board), Spread(SeedDeviation.of(submission.board))
    return score_out(score, suite, _hidden(submission, viewer), spread)


def _hidden(submission: Submission, viewer: Viewer | None) -> list[str]:
    """Private tasks that this viewer may not see the scores of yet."""
    return [] if viewer is not None and viewer.organiser else withheld(submission.board)


def _actor(viewer: Viewer) -> str:
    return f"{viewer.role.value}:{viewer.name}"
