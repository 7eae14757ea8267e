"""Rules of uploads: how far one is, what may be added to it, when it is complete or given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from datacomp.messages import SubmissionCreate, SubmissionOut
from datacomp.problems import BadInput, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.clock import now
from datacomp_server.errors import Conflict
from datacomp_server.runs.lifecycle import DISPATCHER
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.streaming import Received
from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.schemas import ExpectedUpload
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.submissions.states import UPLOADING
from datacomp_server.uploads.models import UploadPiece
from datacomp_server.uploads.repository import PieceRepository

MOST_UNFINISHED = 20
"""How many uploads of a participant are looked at."""


@dataclass(frozen=True)
class UploadStatus:
    """How far an upload is."""

    offset: int
    """Bytes that are here; all of them once the file is confirmed."""
    expected: ExpectedUpload
    expires: datetime | None
    """When it is given up unless more comes; None once the file is confirmed."""


class UploadService:
    """What may happen to a file that is still arriving."""

    def __init__(self, session: Session, settings: Settings, storage: Storage) -> None:
        self.settings = settings
        self.submissions = SubmissionService(session, settings, storage)
        self.pieces = PieceRepository(session)

    def status(self, viewer: Viewer, submission_id: str) -> UploadStatus:
        """How far the upload is. `NotFound`, `Forbidden`, or `Gone` once it ended without the file."""
        expected = self.submissions.expect_upload(viewer, submission_id)
        if expected.confirmed:
            return UploadStatus(expected.size, expected, None)
        offset, at = self.pieces.reach(submission_id)
        return UploadStatus(offset, expected, self._expiry(at or expected.opened_at))

    def append(self, viewer: Viewer, piece: UploadPiece) -> datetime:
        """Count a piece that has been stored; returns when the upload now expires. `Conflict` unless it begins where
        the last one ends: then another client was quicker."""
        expected = self.submissions.hold_upload(viewer, piece.submission_id)
        offset = expected.size if expected.confirmed else self.pieces.reach(piece.submission_id)[0]
        if piece.start != offset:
            raise misplaced(offset, piece.start)
        piece.created_at = now()
        self.pieces.add(piece)
        return self._expiry(piece.created_at)

    def parts(self, piece: UploadPiece) -> list[str]:
        """Keys of everything before the last piece, and its own, in order. `Conflict` unless they are the file."""
        before = self.pieces.of_submission(piece.submission_id)
        offset = before[-1].end if before else 0
        if piece.start != offset:
            raise misplaced(offset, piece.start)
        return [*(known.key for known in before), piece.key]

    def confirm(self, viewer: Viewer, submission_id: str, received: Received) -> SubmissionOut:
        """The file is complete and stored under its own key: the submission begins."""
        return self.submissions.confirm_upload(viewer, submission_id, received)

    def restart(self, viewer: Viewer, submission_id: str) -> None:
        """What came is not what was announced: begin again at the first byte."""
        if not self.submissions.hold_upload(viewer, submission_id).confirmed:
            self.pieces.forget(submission_id)

    def unfinished(self, viewer: Viewer) -> list[tuple[Submission, int]]:
        """Submissions of the viewer, or the viewer's team, of whose file some has arrived but not all: and how much."""
        rows = self.submissions.submissions.of_party(
            viewer.user_id, viewer.team_id, MOST_UNFINISHED, 0, state=UPLOADING
        )
        reached = ((row, self.pieces.reach(row.id)[0]) for row in rows)
        return [(row, offset) for row, offset in reached if offset]

    def awaiting(self, viewer: Viewer, create: SubmissionCreate) -> str | None:
        """Id of the viewer's submission that awaits just this file under this name."""
        found = self.submissions.list_own(viewer, digest=create.digest, state=UPLOADING)
        same = ("board", "kind", "method", "rehearsal")
        return next(
            (row.id for row in found if all(getattr(row, name) == getattr(create, name) for name in same)), None
        )

    def expire(self, submission_id: str, before: datetime) -> bool:
        """Cancel a submission of whose file nothing came since a time; False when something did after all."""
        submission = self.submissions.lock(submission_id)
        _, at = self.pieces.reach(submission_id)
        if submission.state != UPLOADING or (at or submission.created_at) >= before:
            return False
        self.submissions.lifecycle.cancel(submission, DISPATCHER, "the file never came")
        return True

    def _expiry(self, at: datetime) -> datetime:
        return at + timedelta(seconds=self.settings.upload_seconds)


def misplaced(offset: int, start: int) -> Conflict:
    """The refusal of bytes that do not belong where the upload goes on."""
    message = f"the upload goes on at byte {offset:,}, not at {start:,}"
    return Conflict.of("upload-offset", message, where="Upload-Offset", hint="ask how far it is (HEAD), then go on")


def begin_again(error: BadInput) -> BadInput:
    """What is said when all pieces are here and are not the file that was announced."""
    hint = "the upload is empty again: send the file that was announced, or cancel and hand in this one"
    return BadInput(*(Problem(code=p.code, message=p.message, where=p.where, hint=hint) for p in error.problems))
