"""`/api/submissions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse

from datacomp.messages import ManifestOut, SubmissionCreate, SubmissionLine, SubmissionOut
from datacomp_server.dependencies import (
    DatabaseDep,
    HubDep,
    MaybeViewer,
    SubmissionServiceDep,
    ViewerDep,
)
from datacomp_server.errors import NotFound, refusals
from datacomp_server.submissions.receipts import upload_path
from datacomp_server.submissions.repository import SubmissionRepository

router = APIRouter(prefix="/api/submissions", tags=["submissions"])


@router.post("", status_code=201, responses=refusals(401, 403, 404, 429, 507))
def open_submission(
    body: SubmissionCreate, viewer: ViewerDep, submissions: SubmissionServiceDep, response: Response
) -> SubmissionOut:
    """Open a submission: everything about it is checked and a place in the quota reserved. The file follows, to the
    address in `Location`."""
    opened = submissions.open(viewer, body)
    response.headers["Location"] = upload_path(opened.id)
    return opened


@router.get("", responses=refusals(401))
def list_own(
    viewer: ViewerDep,
    submissions: SubmissionServiceDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    digest: Annotated[str | None, Query(max_length=64, description="Only of the file with this digest.")] = None,
    state: Annotated[str | None, Query(max_length=40, description="Only in this state.")] = None,
) -> list[SubmissionLine]:
    """One's own submissions, newest first."""
    return submissions.list_own(viewer, limit=limit, offset=offset, digest=digest, state=state)


@router.get("/{submission}", responses=refusals(401, 404))
def receipt(submission: str, viewer: MaybeViewer, submissions: SubmissionServiceDep) -> SubmissionOut:
    """The receipt: state, runs with live progress, failure or scores."""
    return submissions.receipt(submission, viewer)


@router.get(
    "/{submission}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **refusals(401, 404)},
)
def events(
    submission: str,
    database: DatabaseDep,
    hub: HubDep,
    last_event_id: Annotated[str, Header(max_length=40)] = "",
) -> StreamingResponse:
    """Server-sent events: the history after `Last-Event-ID`, then live until the submission is final."""
    with database.read() as session:
        if SubmissionRepository(session).get(submission) is None:
            raise NotFound.of("submission-unknown", "there is no such submission", where=submission)
    last = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else 0
    watched = hub.watch(submission, min(last, 2**62))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(watched, media_type="text/event-stream", headers=headers)


@router.post("/{submission}/cancel", responses=refusals(401, 403, 404, 409))
def cancel(submission: str, viewer: ViewerDep, submissions: SubmissionServiceDep) -> SubmissionOut:
    """Stop a submission that is under way. Its quota comes back when no run had been taken up."""
    return submissions.cancel(viewer, submission)


@router.post("/{submission}/withdraw", responses=refusals(401, 403, 404, 409))
def withdraw(submission: str, viewer: ViewerDep, submissions: SubmissionServiceDep) -> SubmissionOut:
    """Take a scored submission off its board."""
    return submissions.withdraw(viewer, submission)


@router.get("/{submission}/manifest", responses=refusals(401, 404, 409))
def manifest(submission: str, viewer: MaybeViewer, submissions: SubmissionServiceDep) -> ManifestOut:
    """Everything that the result depends on, by digest."""
    return submissions.manifest(submission, viewer)
