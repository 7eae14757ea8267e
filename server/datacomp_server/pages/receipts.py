"""A submission's receipt: the page, its live part, the manifest, and what its owner may do to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from datacomp.messages import SubmissionOut
from datacomp.problems import Problem
from datacomp_server.accounts.service import Viewer
from datacomp_server.dependencies import DatabaseDep, SettingsDep, StorageDep, SubmissionServiceDep, get_database
from datacomp_server.errors import Conflict
from datacomp_server.pages.contexts import ManifestPage, ReceiptPage
from datacomp_server.pages.kept import kept_of_receipt
from datacomp_server.pages.receipt import build_receipt
from datacomp_server.pages.signed import Sent, signed_form
from datacomp_server.pages.web import PageViewer, answer, go, site_for
from datacomp_server.pools.endpoints import get_desk
from datacomp_server.pools.service import BoardPool
from datacomp_server.submissions.service import SubmissionService

router = APIRouter(include_in_schema=False)


class Change(StrEnum):
    """What an owner may do to a submission."""

    CANCEL = "cancel"
    WITHDRAW = "withdraw"


@router.get("/submissions/{submission_id}")
def receipt_page(
    submission_id: str, request: Request, viewer: PageViewer, submissions: SubmissionServiceDep
) -> Response:
    """The receipt, at its one stable address."""
    return answer(request, _page(request, viewer, submissions.receipt(submission_id, viewer)))


@router.get("/submissions/{submission_id}/fragment")
def receipt_fragment(
    submission_id: str, request: Request, viewer: PageViewer, submissions: SubmissionServiceDep
) -> Response:
    """The live part alone, for `receipt.js`."""
    page = _page(request, viewer, submissions.receipt(submission_id, viewer))
    return answer(request, page, template="receipt_body.html")


@router.post("/submissions/{submission_id}/{change}")
def change_submission(
    submission_id: str,
    change: Change,
    request: Request,
    sent: Annotated[Sent, Depends(signed_form("/submissions/{submission_id}"))],
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> Response:
    """Cancel or withdraw, then back to the receipt; what is not possible now is said there."""
    try:
        with database.write() as session:
            submissions = SubmissionService(session, settings, storage)
            act = submissions.cancel if change is Change.CANCEL else submissions.withdraw
            act(sent.viewer, submission_id)
    except Conflict as error:
        with database.read() as session:
            receipt = SubmissionService(session, settings, storage).receipt(submission_id, sent.viewer)
        return answer(request, _page(request, sent.viewer, receipt, error.problems), error.status)
    return go(f"/submissions/{submission_id}")


@router.get("/manifest/{submission_id}")
def manifest_page(
    submission_id: str, request: Request, viewer: PageViewer, submissions: SubmissionServiceDep
) -> Response:
    """Everything that the result depends on."""
    manifest = submissions.manifest(submission_id, viewer)
    page = ManifestPage(
        site=site_for(request, viewer),
        receipt=submissions.receipt(submission_id, viewer),
        digest=manifest.digest,
        entries=list(leaves(manifest.body)),
    )
    return answer(request, page)


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Dotted path and text of every leaf of a JSON-like value; places in lists count from 0."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{place}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def _page(
    request: Request, viewer: Viewer | None, receipt: SubmissionOut, problems: tuple[Problem, ...] = ()
) -> ReceiptPage:
    is_own = viewer is not None and _is_own(viewer, receipt)
    with get_database(request).read() as session:
        pool = BoardPool.read(session, get_desk(request), receipt.board)
    return build_receipt(
        site_for(request, viewer),
        receipt,
        may_change=is_own or (viewer is not None and viewer.organiser),
        is_own=is_own,
        board_title=pool.board.title,
        problems=list(problems),
        pool=pool if kept_of_receipt(receipt) is not None else None,
    )


def _is_own(viewer: Viewer, receipt: SubmissionOut) -> bool:
    return viewer.team == receipt.team if receipt.team else viewer.name == receipt.participant
