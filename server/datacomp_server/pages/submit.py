"""The web form of a submission: one request with all fields and the file, checked together before quota is spent.

Of a large file the page's script announces name, size, digest and first bytes instead, and sends it in pieces to where
the answer says (`static/pieces.js`); what it says of itself is checked in the same way before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from datacomp.digests import BLOCK
from datacomp.messages import BoardOut, QuotaOut, SubmissionCreate, SubmissionKind
from datacomp.problems import DatacompError, PlatformFault, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import BoardServiceDep, get_database, get_settings, get_storage
from datacomp_server.errors import TooLarge, status_of
from datacomp_server.pages.contexts import ExpressionFault, SubmitPage, SubmitValues, UnfinishedUpload, kinds_of
from datacomp_server.pages.formfields import expression_problems, field_problems, message_of, values_of
from datacomp_server.pages.formfile import (
    Upload,
    as_announced,
    file_problems,
    head_problems,
    set_aside,
    set_text_aside,
)
from datacomp_server.pages.web import (
    SMALL_FORM,
    PageViewer,
    answer,
    check_csrf,
    go,
    read_form,
    site_for,
    text_of,
)
from datacomp_server.streaming import Received
from datacomp_server.submissions.receipts import upload_path
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.uploads.service import UploadService

router = APIRouter(include_in_schema=False)
log = logging.getLogger(__name__)


@router.get("/submit")
def submit_page(
    request: Request,
    viewer: PageViewer,
    boards: BoardServiceDep,
    board: Annotated[str, Query(max_length=64)] = "",
    resume: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """The form; the address may choose the board, or an upload to go on with, whose fields are then filled in."""
    if viewer is None:
        query = f"?board={quote(board)}" if board else f"?resume={quote(resume)}" if resume else ""
        return go(f"/account/sign-in?next={quote(f'/submit{query}')}")
    unfinished, listed = _unfinished(request, viewer), boards.open_boards()
    chosen = next((one for one in listed if one.name == board), listed[0] if listed else None)
    fresh = SubmitValues(board=board, kind=kinds_of(chosen)[0] if chosen else "")
    values = next((upload.values for upload in unfinished if upload.id == resume), fresh)
    site = site_for(request, viewer)
    page = SubmitPage(
        site=site,
        boards=listed,
        values=values,
        unfinished=unfinished,
        resume=resume,
        quotas=_quotas(request, viewer),
    )
    return answer(request, page)


def _quotas(request: Request, viewer: Viewer) -> list[QuotaOut]:
    with get_database(request).read() as session:
        return SubmissionService(session, get_settings(request), get_storage(request)).standings(viewer)


def _unfinished(request: Request, viewer: Viewer) -> list[UnfinishedUpload]:
    with get_database(request).read() as session:
        service = UploadService(session, get_settings(request), get_storage(request))
        return [
            UnfinishedUpload(
                id=submission.id,
                filename=submission.filename,
                arrived=offset,
                size=submission.size,
                values=SubmitValues(
                    board=submission.board_name,
                    kind=submission.kind.value,
                    method=submission.method,
                    description=submission.description,
                    link=submission.link,
                    rehearsal=submission.rehearsal,
                ),
            )
            for submission, offset in service.unfinished(viewer)
        ]


@router.post("/submit")
async def submit(request: Request, viewer: PageViewer) -> Response:
    """Take the form and go to the receipt, or show everything that is wrong with it.

    No database connection is held while the form comes in.
    """
    if viewer is None:
        return go("/account/sign-in?next=/submit")
    boards = await run_in_threadpool(_open_boards, request)
    try:
        form = await read_form(request, max((board.max_upload_bytes for board in boards), default=0) + SMALL_FORM)
    except TooLarge as error:
        return _again(request, viewer, boards, SubmitValues(), error.problems, status=error.status)
    try:
        check_csrf(request, viewer, form.get("csrf"))
        return await run_in_threadpool(_hand_in, request, viewer, boards, form)
    finally:
        await form.close()


def _open_boards(request: Request) -> list[BoardOut]:
    with get_database(request).read() as session:
        return BoardService(session).open_boards()


def _hand_in(request: Request, viewer: Viewer, boards: list[BoardOut], form: FormData) -> Response:
    values = values_of(form)
    written = values.kind == SubmissionKind.EXPRESSION
    announced = "" if written else text_of(form, "digest")
    in_text, fault = expression_problems(values)
    if written and text_of(form, "preview"):
        return _preview(request, viewer, boards, values, in_text, fault)
    try:
        with set_text_aside(values.expression) if written else set_aside(form.get("file")) as came:
            upload = as_announced(came, announced, text_of(form, "size"), boards) if came and announced else came
            problems = field_problems(values, upload, boards) + in_text
            in_file = (head_problems if announced else file_problems)(upload, values.kind)
            if upload is None or problems or in_file:
                return _again(request, viewer, boards, values, problems, in_file, fault=fault)
            if announced:
                return _await(request, viewer, message_of(values, upload))
            return go(f"/submissions/{_store(request, viewer, message_of(values, upload), upload)}")
    except DatacompError as error:
        if isinstance(error, PlatformFault):
            log.error("platform fault at %s: %s", request.url.path, error)
        return _again(request, viewer, boards, values, error.problems, status=status_of(error))


def _preview(
    request: Request,
    viewer: Viewer,
    boards: list[BoardOut],
    values: SubmitValues,
    problems: list[Problem],
    fault: ExpressionFault | None,
) -> Response:
    """The page of the pool shows what an expression keeps, for those whose browser does not ask while they type."""
    if all(board.name != values.board for board in boards):
        problems = [problem for problem in field_problems(values, None, boards) if problem.where == "board"]
    if problems:
        return _again(request, viewer, boards, values, problems, fault=fault)
    return go(f"/boards/{values.board}/pool?{urlencode({'expression': values.expression})}#try")


def _await(request: Request, viewer: Viewer, create: SubmissionCreate) -> Response:
    """Open the submission, or take up the one that awaits this file already; the script sends it to `upload`."""
    database, settings, storage = get_database(request), get_settings(request), get_storage(request)
    with database.write() as session:
        uploads = UploadService(session, settings, storage)
        opened = uploads.awaiting(viewer, create) or uploads.submissions.open(viewer, create).id
    return JSONResponse({"upload": upload_path(opened), "receipt": f"/submissions/{opened}"}, status_code=201)


def _store(request: Request, viewer: Viewer, create: SubmissionCreate, upload: Upload) -> str:
    """Open the submission and hand over the file; when that fails, the submission is cancelled and costs nothing."""
    database, settings, storage = get_database(request), get_settings(request), get_storage(request)
    with database.write() as session:
        submissions = SubmissionService(session, settings, storage)
        opened = submissions.open(viewer, create).id
        key = submissions.expect_upload(viewer, opened).key
    try:
        with storage.writer(key) as writer:
            with upload.path.open("rb") as file:
                while block := file.read(BLOCK):
                    writer.write(block)
            writer.commit()
        with database.write() as session:
            received = Received(writer.digest, writer.size)
            SubmissionService(session, settings, storage).confirm_upload(viewer, opened, received)
    except Exception:
        with database.write() as session:
            SubmissionService(session, settings, storage).cancel(viewer, opened)
        raise
    return opened


def _again(
    request: Request,
    viewer: Viewer,
    boards: list[BoardOut],
    values: SubmitValues,
    problems: Sequence[Problem],
    in_file: Sequence[Problem] = (),
    *,
    fault: ExpressionFault | None = None,
    status: int = 422,
) -> Response:
    """The form once more, with what is wrong and what was typed."""
    page = SubmitPage(
        unfinished=_unfinished(request, viewer),
        quotas=_quotas(request, viewer),
        site=site_for(request, viewer),
        boards=boards,
        values=values,
        problems=list(problems),
        file_problems=list(in_file),
        fault=fault,
    )
    return answer(request, page, status)
