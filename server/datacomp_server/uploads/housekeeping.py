"""What is left of uploads: given up when nothing comes any more, and swept out of storage when it has no use.

Nothing here needs to have happened at any time: killed in the middle, the next round finds the rest.
"""

from __future__ import annotations

from datetime import timedelta

from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.settings import Settings
from datacomp_server.storage import PARTS, Storage
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.states import UPLOADING
from datacomp_server.uploads.models import PIECES, piece_key
from datacomp_server.uploads.repository import PieceRepository
from datacomp_server.uploads.service import UploadService

FORGOTTEN = timedelta(hours=1)
"""A file to which nothing was written for so long, and which nothing refers to, was left by somebody who is gone."""


def expire_uploads(database: Database, settings: Settings, storage: Storage) -> int:
    """Cancel submissions of whose file nothing came for `upload_seconds`, and give their quota back; returns how
    many."""
    before = now() - timedelta(seconds=settings.upload_seconds)
    with database.read() as session:
        stale = PieceRepository(session).stale(before)
    expired = 0
    for submission in stale:
        with database.write() as session:
            expired += UploadService(session, settings, storage).expire(submission, before)
    return expired


def sweep(database: Database, storage: Storage) -> None:
    """Remove pieces of uploads that ended, pieces that were never counted, and files that were never finished."""
    with database.read() as session:
        ended = PieceRepository(session).ended()
    for submission in {*ended, *storage.names(PIECES)}:
        sweep_submission(database, storage, submission)
    for part in storage.names(PARTS):
        _delete_forgotten(storage, f"{PARTS}/{part}")


def sweep_submission(database: Database, storage: Storage, submission_id: str) -> None:
    """Remove a submission's pieces that have no use: all when its file is not awaited any more, else those that were
    stored long ago and never counted."""
    with database.read() as session:
        submission = SubmissionRepository(session).get(submission_id)
        awaited = submission is not None and submission.state == UPLOADING
        counted = {piece.id for piece in PieceRepository(session).of_submission(submission_id)} if awaited else set()
    folder = f"{PIECES}/{submission_id}"
    if not awaited:
        storage.delete_all(folder)
        with database.write() as session:
            PieceRepository(session).forget(submission_id)
        return
    for name in storage.names(folder):
        if name not in counted:
            _delete_forgotten(storage, piece_key(submission_id, name))


def _delete_forgotten(storage: Storage, key: str) -> None:
    at = storage.written_at(key)
    if at is not None and at < now() - FORGOTTEN:
        storage.delete(key)
