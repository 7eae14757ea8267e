"""One handler for every refusal and fault: as `ErrorOut`, or as a page for browsers."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import sqlalchemy.exc
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from datacomp.messages import ErrorOut
from datacomp.problems import DatacompError, PlatformFault, Problem
from datacomp_server.errors import Refusal, database_problem, status_of

log = logging.getLogger(__name__)


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
        headers = dict(error.headers or {})  # a 405 says in `Allow` what is possible
        return answer(request, error.status_code, [http_problem(request, error)], headers)

    def on_database(request: Request, error: Exception) -> Response:
        log.error("database unavailable at %s: %s", request.url.path, error)
        return answer(request, 503, [database_problem(error)])

    app.add_exception_handler(DatacompError, on_datacomp)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(sqlalchemy.exc.OperationalError, on_database)
    app.add_exception_handler(sqlalchemy.exc.TimeoutError, on_database)


def http_problem(request: Request, error: HTTPException) -> Problem:
    """What the framework itself refuses: mostly an address or a method that there is not."""
    path = _sayable(request.url.path)
    if error.status_code == 404:
        hint = "check the address, or look for it from the start page; the API's addresses are at /api/docs"
        return Problem(code="not-found", message="there is nothing at this address", where=path, hint=hint)
    if error.status_code == 405:
        message = f"{request.method} is not possible at this address"
        return Problem(
            code="method-not-allowed", message=message, where=path, hint="the API's methods are at /api/docs"
        )
    return Problem(code="http-error", message=str(error.detail))


def _sayable(text: str) -> str:
    """Text that an answer can carry: names of unknown fields are whatever was sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _wants_html(request: Request) -> bool:
    if request.url.path.startswith("/api/"):
        return False
    return "text/html" in request.headers.get("accept", "")
