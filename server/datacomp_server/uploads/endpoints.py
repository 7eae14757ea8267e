"""`/api/submissions/{id}/content`: a submission's file, in resumable pieces (tus 1.0.0) or in a single PUT.

The protocol is that of https://tus.io/protocols/resumable-upload: core, with the extensions checksum, expiration and
termination. An upload is created by opening a submission, which says how many bytes will come and what their digest is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from datacomp.messages import SubmissionOut
from datacomp.problems import DatacompError, PlatformFault
from datacomp_server.dependencies import DatabaseDep, SettingsDep, StorageDep, SubmissionServiceDep, ViewerDep
from datacomp_server.errors import Gone, PreconditionFailed, Refusal, UnsupportedMedia, refusals, status_of
from datacomp_server.handlers import render
from datacomp_server.streaming import Received, measure, receive
from datacomp_server.uploads.arrival import ALGORITHMS, Arrival, Checksum, settled
from datacomp_server.uploads.service import UploadService

log = logging.getLogger(__name__)
VERSION = "1.0.0"
EXTENSIONS = "checksum,expiration,termination"
CONTENT = "application/offset+octet-stream"
BYTES = {"schema": {"type": "string", "format": "binary"}}
OURS = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}


class TusRoute(APIRoute):
    """A route whose every answer, refusals too, names the protocol's version."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler."""
        handle = super().get_route_handler()

        async def named(request: Request) -> Response:
            try:
                response = await handle(request)
            except DatacompError as error:
                if isinstance(error, PlatformFault):
                    log.error("platform fault at %s: %s", request.url.path, error)
                status = status_of(error)
                extra = {401: {"WWW-Authenticate": "Bearer"}, 412: {"Tus-Version": VERSION}, 503: {"Retry-After": "2"}}
                response = render(status, error.problems, extra.get(status))
            for name, value in OURS.items():
                response.headers.setdefault(name, value)
            return response

        return named


router = APIRouter(prefix="/api/submissions/{submission}/content", tags=["uploads"], route_class=TusRoute)


def speaks_tus(tus_resumable: Annotated[str, Header(max_length=20)] = "") -> None:
    """Refuse another version of the protocol."""
    if tus_resumable != VERSION:
        message = f"this server speaks tus {VERSION}, the request {tus_resumable or 'names no version'}"
        raise PreconditionFailed.of("tus-version", message, "Tus-Resumable", f"send Tus-Resumable: {VERSION}")


SpeaksTus = Depends(speaks_tus)


def get_arrival(
    submission: str, viewer: ViewerDep, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> Arrival:
    """The upload that a request is about."""
    return Arrival(database, settings, storage, viewer, submission)


ArrivalDep = Annotated[Arrival, Depends(get_arrival)]
UploadOffset = Annotated[str, Header(max_length=20, description="Where the body's bytes belong.")]
UploadChecksum = Annotated[str, Header(max_length=200, description="Algorithm and base64: `sha256 ...` or `sha1 ...`.")]


@router.options("", status_code=204, responses=refusals())
def capabilities(submission: str) -> Response:
    """What this server can do."""
    headers = {
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": ",".join(ALGORITHMS),
    }
    return Response(status_code=204, headers=headers)


@router.head("", response_class=Response, responses=refusals(401, 403, 404, 410, 412), dependencies=[SpeaksTus])
async def how_far(arrival: ArrivalDep) -> Response:
    """How many bytes are here (`Upload-Offset`) and how many there will be (`Upload-Length`)."""
    await settled(arrival.submission)
    status = await run_in_threadpool(arrival.status)
    headers = {"Upload-Offset": str(status.offset), "Upload-Length": str(status.expected.size)}
    if status.expires:
        headers["Upload-Expires"] = format_datetime(status.expires, usegmt=True)
    return Response(headers=headers)


TAKES: dict[str, Any] = {
    "status_code": 204,
    "responses": refusals(401, 403, 404, 409, 410, 412, 413, 415, 460, 507),
    "openapi_extra": {"requestBody": {"content": {CONTENT: BYTES}, "required": True}},
}


@router.patch("", dependencies=[SpeaksTus], **TAKES)
async def take_piece(
    request: Request, arrival: ArrivalDep, upload_offset: UploadOffset = "", upload_checksum: UploadChecksum = ""
) -> Response:
    """Bytes that belong at `Upload-Offset`. What had arrived when a connection is cut is kept.

    With the last byte the file's digest is compared with the one announced, and the submission begins. Of two clients
    at the same place one gets 409, and asks how far the upload is.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != CONTENT:
        raise UnsupportedMedia.of("content-type", f"the body's type is {kind or 'not named'}", hint=f"send {CONTENT}")
    if not (upload_offset.isascii() and upload_offset.isdigit()):
        raise Refusal.of("upload-offset-missing", "nothing says where the bytes belong", "Upload-Offset", "a number")
    await arrival.take(request, int(upload_offset), Checksum.parse(upload_checksum))
    headers = {"Upload-Offset": str(arrival.offset)}
    if arrival.expires:
        headers["Upload-Expires"] = format_datetime(arrival.expires, usegmt=True)
    return Response(status_code=204, headers=headers)


@router.delete("", status_code=204, responses=refusals(401, 403, 404, 409, 410, 412), dependencies=[SpeaksTus])
def give_up(submission: str, viewer: ViewerDep, submissions: SubmissionServiceDep) -> Response:
    """Give the upload up: the submission is cancelled and its quota refunded; what arrived is removed."""
    if submissions.expect_upload(viewer, submission).confirmed:
        raise Gone.of("upload-complete", "the file is complete", submission, "cancel the submission instead")
    submissions.cancel(viewer, submission)
    return Response(status_code=204)


@router.post("", dependencies=[SpeaksTus], **TAKES)
async def by_another_name(
    request: Request,
    arrival: ArrivalDep,
    upload_offset: UploadOffset = "",
    upload_checksum: UploadChecksum = "",
    x_http_method_override: Annotated[str, Header(max_length=10)] = "",
) -> Response:
    """PATCH for clients that cannot send it, with `X-HTTP-Method-Override: PATCH`."""
    if x_http_method_override.upper() != "PATCH":
        hint = "uploads are created by POST /api/submissions"
        raise Refusal.of("override-missing", "a POST here stands for PATCH and must say so", OVERRIDE, hint)
    return await take_piece(request, arrival, upload_offset, upload_checksum)


OVERRIDE = "X-HTTP-Method-Override"


@router.put(
    "",
    responses=refusals(401, 403, 404, 409, 410, 413, 507),
    openapi_extra={"requestBody": {"content": {"application/octet-stream": BYTES}, "required": True}},
)
async def take_whole(request: Request, arrival: ArrivalDep) -> SubmissionOut:
    """The whole file in one request, for tools as simple as curl. Its size and digest must be those announced.

    After a cut connection the whole file is sent again. A file that was confirmed before is answered with the receipt.
    """
    expected = (await run_in_threadpool(arrival.status)).expected
    if expected.confirmed:
        received = await measure(request, limit=expected.size)
    else:
        await run_in_threadpool(arrival.storage.require_room, expected.size)
        received = await receive(request, arrival.storage, expected.key, limit=expected.size, accept=expected.check)

    def confirm(received: Received) -> SubmissionOut:
        with arrival.database.write() as session:
            service = UploadService(session, arrival.settings, arrival.storage)
            return service.confirm(arrival.viewer, arrival.submission, received)

    return await run_in_threadpool(confirm, received)
