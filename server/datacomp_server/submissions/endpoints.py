"""`/api/submissions`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from datacomp.messages import ManifestOut, SubmissionCreate, SubmissionOut
from datacomp_server.accounts.service import Viewer
from datacomp_server.database import Database
from datacomp_server.dependencies import (
    DatabaseDep,
    MaybeViewer,
    SettingsDep,
    StorageDep,
    SubmissionServiceDep,
    ViewerDep,
)
from datacomp_server.errors import refusals
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.streaming import Received, measure, receive
from datacomp_server.submissions.events import Feed, stream
from datacomp_server.submissions.schemas import ExpectedUpload, SubmissionLine
from datacomp_server.submissions.service import SubmissionService

router = APIRouter(prefix="/api/submissions", tags=["submissions"])


@router.post("", status_code=201, responses=refusals(401, 403, 404, 429))
def open_submission(body: SubmissionCreate, viewer: ViewerDep, submissions: SubmissionServiceDep) -> SubmissionOut:
    """Open a submission: everything about it is checked and a place in the quota reserved. The file follows."""
    return submissions.open(viewer, body)


@router.get("", responses=refusals(401))
def list_own(
    viewer: ViewerDep,
    submissions: SubmissionServiceDep,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
) -> list[SubmissionLine]:
    """One's own submissions, newest first."""
    return submissions.list_own(viewer, limit=limit, offset=offset)


@router.put(
    "/{submission}/content",
    responses=refusals(401, 403, 404, 409, 413),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
)
async def upload(
    submission: str,
    request: Request,
    viewer: ViewerDep,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> SubmissionOut:
    """The file, streamed to storage; its size and digest must be those announced.

    After a cut connection the whole file is sent again. A file that was confirmed before is answered with the receipt.
    """
    place = _Upload(database, settings, storage, viewer, submission)
    expected = await run_in_threadpool(place.expect)
    if expected.confirmed:
        received = await measure(request, limit=expected.size)
    else:
        received = await receive(request, storage, expected.key, limit=expected.size, accept=expected.check)
    return await run_in_threadpool(place.confirm, received)


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
    viewer: MaybeViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
    last_event_id: Annotated[str, Header(max_length=40)] = "",
) -> StreamingResponse:
    """Server-sent events: the history after `Last-Event-ID`, then live until the submission is final."""
    with database.read() as session:
        SubmissionService(session, settings, storage).receipt(submission, viewer)
    last = int(last_event_id) if last_event_id.isascii() and last_event_id.isdigit() else 0
    feed = Feed(database, settings, storage, submission, min(last, 2**62))
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(stream(feed), media_type="text/event-stream", headers=headers)


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


class _Upload:
    """The two short transactions around an upload's bytes."""

    def __init__(
        self, database: Database, settings: Settings, storage: Storage, viewer: Viewer, submission: str
    ) -> None:
        self._database, self._settings, self._storage = database, settings, storage
        self._viewer, self._submission = viewer, submission

    def expect(self) -> ExpectedUpload:
        with self._database.read() as session:
            service = SubmissionService(session, self._settings, self._storage)
            return service.expect_upload(self._viewer, self._submission)

    def confirm(self, received: Received) -> SubmissionOut:
        with self._database.write() as session:
            service = SubmissionService(session, self._settings, self._storage)
            return service.confirm_upload(self._viewer, self._submission, received)
