"""`/api/submissions/{id}/files`: what a submission handed in and what came of it, for whoever may have it.

Its participant and organisers always; everybody once its board discloses it. Evaluation records hold every item's
outcome: while a board keeps tasks private, organisers alone have them.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from datacomp.messages import RECORDS_FILE, SUBSET_FILE, FileRef
from datacomp_server.accounts.service import Viewer
from datacomp_server.dependencies import DatabaseDep, MaybeViewer, StorageDep
from datacomp_server.errors import NotFound, refusals
from datacomp_server.leaderboard.visibility import withheld
from datacomp_server.runs.repository import RunRepository
from datacomp_server.submissions.disclosure import is_disclosed
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.service import may_change

router = APIRouter(prefix="/api/submissions", tags=["submissions"])

UPLOAD = "upload"
"""The participant's own file goes by this name here, whatever it was called."""
DISCLOSED = frozenset({UPLOAD, SUBSET_FILE, RECORDS_FILE})


class Downloads:
    """Which stored files a viewer may have."""

    def __init__(self, session: Session) -> None:
        self.submissions = SubmissionRepository(session)
        self.runs = RunRepository(session)

    def files(self, submission_id: str, viewer: Viewer | None) -> dict[str, StoredFile]:
        """Files by name, the latest of each; none where nothing may be had. `NotFound` for an unknown submission."""
        submission = self.submissions.get(submission_id)
        if submission is None:
            raise NotFound.of("submission-unknown", "there is no such submission", where=submission_id)
        insider = viewer is not None and may_change(viewer, submission)
        if not insider and not is_disclosed(submission):
            return {}
        found = {file.name: file for file in self._promoted(submission)}
        upload = self.submissions.upload(submission_id)
        if upload is not None:
            found[UPLOAD] = upload
        if withheld(submission.board) and not (viewer is not None and viewer.organiser):
            found.pop(RECORDS_FILE, None)
        return found if insider else {name: file for name, file in found.items() if name in DISCLOSED}

    def _promoted(self, submission: Submission) -> list[StoredFile]:
        """In the order of the runs, so that a later stage's file replaces an earlier one's."""
        runs = self.runs.of_submission(submission.id)
        place = {run.id: run.position for run in runs}
        files = [file for file in self.submissions.promoted(list(place)) if file.deleted_at is None]
        return sorted(files, key=lambda file: place[file.run_id or ""])


@router.get("/{submission}/files", responses=refusals(401, 404))
def files(submission: str, viewer: MaybeViewer, database: DatabaseDep) -> list[FileRef]:
    """The files that may be downloaded; with several seeds, weights and records are those of the last."""
    with database.read() as session:
        found = Downloads(session).files(submission, viewer)
    return [FileRef(name=name, digest=file.digest, size=file.size) for name, file in sorted(found.items())]


@router.get(
    "/{submission}/files/{name}",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}, **refusals(401, 404)},
)
def download(
    submission: str, name: str, viewer: MaybeViewer, database: DatabaseDep, storage: StorageDep
) -> StreamingResponse:
    """One file. Its digest (SHA-256) is the ETag."""
    with database.read() as session:
        file = Downloads(session).files(submission, viewer).get(name)
    if file is None:
        raise NotFound.of(
            "file-unknown",
            f"there is no file {name!r} here that you may download",
            where=submission,
            hint="its board says when the code and uids of entries become public",
        )
    shown = f"{submission}-{name}"
    headers = {
        "Content-Length": str(file.size),
        "ETag": f'"{file.digest}"',
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(shown)}",
        "X-Content-Type-Options": "nosniff",
    }
    blocks: Iterator[bytes] = storage.blocks(file.key)
    return StreamingResponse(blocks, media_type="application/octet-stream", headers=headers)
