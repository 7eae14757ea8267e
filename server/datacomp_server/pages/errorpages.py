"""Refusals and faults as pages in the site's own style. No traces: those are in the server's log."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI, Request
from starlette.responses import Response

from datacomp.problems import Problem
from datacomp_server.handlers import render as render_json
from datacomp_server.pages.contexts import ErrorPage
from datacomp_server.pages.security import HEADERS
from datacomp_server.pages.web import answer, site_for, viewer_or_none

TITLES = {
    400: "That request cannot be read",
    401: "Please sign in",
    403: "Not allowed",
    404: "Not found",
    405: "Not possible here",
    409: "Not possible now",
    410: "No longer there",
    413: "Too large",
    422: "Something is wrong with the input",
    429: "Too many requests",
    500: "Something went wrong on our side",
    503: "The platform cannot do this right now",
    507: "No room on the server",
}
QUOTA = "Quota used up"
FAULT = Problem(
    code="server-fault",
    message="the server made a mistake; it has been noted in its log",
    hint="try again; if it happens again, tell the organisers when and on which page",
)


def error_page(request: Request, status: int, problems: Sequence[Problem]) -> Response:
    """The page of a refusal, for `app.state.error_page`."""
    spent = any(problem.code == "quota-spent" for problem in problems)
    page = ErrorPage(
        site=site_for(request, viewer_or_none(request)),
        status=status,
        title=QUOTA if spent else TITLES.get(status, "That did not work"),
        problems=list(problems),
    )
    return answer(request, page, status)


async def on_fault(request: Request, error: Exception) -> Response:
    """The answer to an exception that nobody expected. Starlette logs it with its trace."""
    as_json = request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", "")
    response = render_json(500, [FAULT]) if as_json else error_page(request, 500, [FAULT])
    response.headers.update(HEADERS)  # Starlette answers faults outside of all middleware
    return response


def install_error_pages(app: FastAPI) -> None:
    """Browsers get pages for refusals and faults; programs still get JSON."""
    app.state.error_page = error_page
    if Exception not in app.exception_handlers and 500 not in app.exception_handlers:
        app.add_exception_handler(Exception, on_fault)
