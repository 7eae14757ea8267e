"""SQL of pieces."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from datacomp_server.submissions.models import Submission
from datacomp_server.submissions.states import UPLOADING
from datacomp_server.uploads.models import UploadPiece


class PieceRepository:
    """The pieces that count."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def add(self, piece: UploadPiece) -> None:
        """Insert a piece now."""
        self.session.add(piece)
        self.session.flush()

    def of_submission(self, submission_id: str) -> list[UploadPiece]:
        """A submission's pieces, in the order of their bytes."""
        query = select(UploadPiece).where(UploadPiece.submission_id == submission_id)
        return list(self.session.scalars(query.order_by(UploadPiece.start)))

    def reach(self, submission_id: str) -> tuple[int, datetime | None]:
        """Where the last piece ends, and when it came; 0 and None without any."""
        query = select(func.sum(UploadPiece.size), func.max(UploadPiece.created_at))
        size, at = self.session.execute(query.where(UploadPiece.submission_id == submission_id)).one()
        return int(size or 0), at

    def forget(self, submission_id: str) -> None:
        """Delete all pieces of a submission."""
        self.session.execute(delete(UploadPiece).where(UploadPiece.submission_id == submission_id))

    def stale(self, before: datetime) -> list[str]:
        """Submissions that still await their file, and of which nothing came since a time."""
        lately = exists().where(UploadPiece.submission_id == Submission.id, UploadPiece.created_at >= before)
        query = select(Submission.id).where(Submission.state == UPLOADING, Submission.created_at < before, ~lately)
        return list(self.session.scalars(query))

    def ended(self) -> list[str]:
        """Submissions that have pieces and do not await their file any more."""
        query = select(UploadPiece.submission_id).join(Submission, Submission.id == UploadPiece.submission_id)
        return list(self.session.scalars(query.where(Submission.state != UPLOADING).distinct()))
