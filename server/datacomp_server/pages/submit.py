"""The web form of a submission: one request with all fields and the file, checked together before quota is spent.

Of a large file the page's script announces name, size, digest and first bytes instead, and sends it in pieces to where
the answer says (`static/pieces.js`); what it says of itself is checked in the same way before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.responses import JSONResponse, Response

from datacomp.digests import BLOCK
from datacomp.messages import BoardOut, SubmissionCreate
from datacomp.problems import DatacompError, PlatformFault, Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.boards.service import BoardService
from datacomp_server.dependencies import BoardServiceDep, get_database, get_settings, get_storage
from datacomp_server.errors import TooLarge, status_of
from datacomp_server.pages.contexts import SubmitPage, SubmitValues, UnfinishedUpload
from datacomp_server.pages.filters import safe_link, size
from datacomp_server.pages.formfile import Upload, as_announced, file_problems, head_problems, set_aside
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

FIELD_OF = {"filename": "file", "digest": "file", "size": "file"}
"""Fields of the message that are not fields of the form."""
MESSAGES = {
    "board": ("there is no such board", "choose one from the list"),
    "kind": ("this kind cannot be handed in here", "choose sample ids or filter code"),
    "file": ("there is no file, or it is empty", "choose a .npy, .bitmap or .py file"),
    "method": ("the method has no name, or a very long one", "give it 1 to 120 characters"),
    "description": ("the description is too long", "use at most 4,000 characters"),
    "link": ("this is not a web address", "give one that begins with https://, or leave it empty"),
}


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
        chosen = f"?board={quote(board)}" if board else f"?resume={quote(resume)}" if resume else ""
        return go(f"/account/sign-in?next={quote(f'/submit{chosen}')}")
    unfinished = _unfinished(request, viewer)
    values = next((upload.values for upload in unfinished if upload.id == resume), SubmitValues(board=board))
    site = site_for(request, viewer)
    return answer(
        request, SubmitPage(site=site, boards=boards.open_boards(), values=values, unfinished=unfinished, resume=resume)
    )


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
    announced = text_of(form, "digest")
    try:
        with set_aside(form.get("file")) as came:
            upload = as_announced(came, announced, text_of(form, "size"), boards) if came and announced else came
            problems = field_problems(values, upload, boards)
            in_file = (head_problems if announced else file_problems)(upload, values.kind)
            if upload is None or problems or in_file:
                return _again(request, viewer, boards, values, problems, in_file)
            if announced:
                return _await(request, viewer, _message(values, upload))
            return go(f"/submissions/{_store(request, viewer, _message(values, upload), upload)}")
    except DatacompError as error:
        if isinstance(error, PlatformFault):
            log.error("platform fault at %s: %s", request.url.path, error)
        return _again(request, viewer, boards, values, error.problems, status=status_of(error))


def values_of(form: FormData) -> SubmitValues:
    """The text fields; browsers send line ends as CR LF."""
    return SubmitValues(
        board=text_of(form, "board"),
        kind=text_of(form, "kind"),
        method=text_of(form, "method"),
        description=text_of(form, "description").replace("\r\n", "\n"),
        link=text_of(form, "link"),
        rehearsal=text_of(form, "rehearsal") == "yes",
    )


def _message(values: SubmitValues, upload: Upload | None) -> SubmissionCreate:
    file = {} if upload is None else {"filename": upload.path.name, "digest": upload.digest, "size": upload.size}
    return SubmissionCreate.model_validate(
        {
            "board": values.board,
            "kind": values.kind,
            "method": values.method,
            "description": values.description,
            "link": values.link,
            "rehearsal": values.rehearsal,
            **file,
        }
    )


def field_problems(values: SubmitValues, upload: Upload | None, boards: list[BoardOut]) -> list[Problem]:
    """All that is wrong with the fields, in the form's order, each at its field."""
    wrong: set[str] = set()
    try:
        _message(values, upload)
    except ValidationError as error:
        wrong = {FIELD_OF.get(str(item["loc"][0]), str(item["loc"][0])) for item in error.errors()}
    board = next((board for board in boards if board.name == values.board), None)
    if board is None:
        wrong.add("board")
    if values.link and safe_link(values.link) is None:
        wrong.add("link")
    problems = [
        Problem(code=f"{name}-invalid", message=message, where=name, hint=hint)
        for name, (message, hint) in MESSAGES.items()
        if name in wrong
    ]
    if board is not None and upload is not None and upload.size > board.max_upload_bytes:
        message = f"the file has {size(upload.size)}, and this board takes {size(board.max_upload_bytes)}"
        problems.append(Problem(code="upload-too-large", message=message, where="file"))
    return problems


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
    status: int = 422,
) -> Response:
    """The form once more, with what is wrong and what was typed."""
    page = SubmitPage(
        unfinished=_unfinished(request, viewer),
        site=site_for(request, viewer),
        boards=boards,
        values=values,
        problems=list(problems),
        file_problems=list(in_file),
    )
    return answer(request, page, status)
