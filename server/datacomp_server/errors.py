"""Refusals carry a status and problems; one handler renders them all as `ErrorOut`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from datacomp.messages import ErrorOut
from datacomp.problems import BadInput, DatacompError, PlatformFault, Problem

log = logging.getLogger(__name__)


class Refusal(DatacompError):
    """A request that is refused; subclasses say with which status."""

    status = 400
    retry_after: int | None = None
    """Seconds after which asking again may help."""


class Unauthorised(Refusal):
    """Nobody knows who is asking."""

    status = 401


class Forbidden(Refusal):
    """Known, but not allowed."""

    status = 403


class NotFound(Refusal):
    """There is no such thing, or it is none of the asker's business."""

    status = 404


class Conflict(Refusal):
    """The thing is in a state in which this cannot be done."""

    status = 409


class Gone(Refusal):
    """The thing was there and will not come back."""

    status = 410


class PreconditionFailed(Refusal):
    """The request speaks another version of a protocol."""

    status = 412


class TooLarge(Refusal):
    """More bytes than allowed or announced."""

    status = 413


class UnsupportedMedia(Refusal):
    """The body is not of the type that is taken here."""

    status = 415


class ChecksumMismatch(Refusal):
    """The body is not what its checksum says (a status of the tus protocol)."""

    status = 460


class QuotaSpent(Refusal):
    """The quota of the participant, or of the participant's team, is used up."""

    status = 429


class TooManyRequests(Refusal):
    """Asked too often; `retry_after` says when again."""

    status = 429


class OutOfSpace(PlatformFault):
    """There is no room for the file."""

    status = 507


MEANINGS = {
    400: "The request is malformed",
    401: "No valid token or session was given",
    403: "Not allowed for this account",
    404: "There is no such thing, or it is not visible to this account",
    409: "Not possible in the present state",
    410: "It has ended and will not come back",
    412: "Another version of the protocol is spoken here",
    413: "Too large",
    415: "The body is not of the type that is taken here",
    422: "The input is wrong; every problem is listed",
    429: "Quota used up, or asked too often",
    460: "The body does not have the checksum that was given",
    503: "The platform cannot do this now; try again",
    507: "The server has no room for the file",
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the refusals an endpoint may answer with; 400, 422, 429 and 503 always belong to them."""
    every = sorted({*statuses, 400, 422, 429, 503})
    return {status: {"model": ErrorOut, "description": MEANINGS[status]} for status in every}


def status_of(error: DatacompError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, Refusal | OutOfSpace):
        return error.status
    if isinstance(error, BadInput):
        return 422
    return 503 if isinstance(error, PlatformFault) else 500


def render(status: int, problems: Sequence[Problem], headers: dict[str, str] | None = None) -> Response:
    """The JSON answer of a refusal."""
    body = ErrorOut(problems=list(problems)).model_dump(mode="json")
    return JSONResponse(body, status_code=status, headers=headers)


def problems_of(error: RequestValidationError) -> list[Problem]:
    """All problems of a request that does not fit its schema."""
    return [
        Problem(
            code="request-invalid",
            message=_sayable(item["msg"]),
            where=_sayable(".".join(str(part) for part in item["loc"])),
        )
        for item in error.errors()
    ]


def answer(
    request: Request, status: int, problems: Sequence[Problem], headers: dict[str, str] | None = None
) -> Response:
    """The answer of a refusal: `ErrorOut`, or `app.state.error_page` for browsers."""
    headers = {**_usual_headers(status), **(headers or {})}
    page = getattr(request.app.state, "error_page", None)
    if page is not None and _wants_html(request):
        rendered: Response = page(request, status, problems)
        rendered.headers.update(headers)
        return rendered
    return render(status, problems, headers)


def _usual_headers(status: int) -> dict[str, str]:
    return {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "2"}}.get(status, {})


def install_handlers(app: FastAPI) -> None:
    """Make every exception an `ErrorOut`. `app.state.error_page`, when set, renders them for browsers instead."""

    def on_datacomp(request: Request, error: Exception) -> Response:
        if not isinstance(error, DatacompError):
            raise error
        if isinstance(error, PlatformFault):
            log.error("platform fault at %s: %s", request.url.path, error)
        again = error.retry_after if isinstance(error, Refusal) else None
        headers = {"Retry-After": str(again)} if again is not None else None
        return answer(request, status_of(error), error.problems, headers)

    def on_invalid(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return answer(request, 422, problems_of(error))

    def on_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
        headers = dict(error.headers or {})  # a 405 says in `Allow` what is possible
        return answer(request, error.status_code, [Problem(code=code, message=str(error.detail))], headers)

    def on_database(request: Request, error: Exception) -> Response:
        log.error("database unavailable at %s: %s", request.url.path, error)
        return answer(request, 503, [database_problem(error)])

    app.add_exception_handler(DatacompError, on_datacomp)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(sqlalchemy.exc.OperationalError, on_database)
    app.add_exception_handler(sqlalchemy.exc.TimeoutError, on_database)


def database_problem(error: Exception) -> Problem:
    """What to say of a database that refused; nothing of the transaction is there."""
    cause = str(getattr(error, "orig", None) or error).lower()
    tell = "tell the organisers, then try again"
    if "disk is full" in cause or "no space left" in cause:
        return Problem(code="database-full", message="the database's disk is full", hint=tell)
    if "readonly database" in cause or "read-only" in cause:
        return Problem(code="database-read-only", message="the database cannot be written", hint=tell)
    return Problem(code="database-busy", message="the database did not answer in time", hint="try again in a moment")


def _sayable(text: str) -> str:
    """Text that an answer can carry: names of unknown fields are whatever was sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _wants_html(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return False
    return "text/html" in request.headers.get("accept", "")
