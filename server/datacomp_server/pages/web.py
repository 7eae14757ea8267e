"""What every page endpoint uses: the frame's context, answers, redirects, and forms that are checked."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import FormData
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, RedirectResponse, Response

from datacomp.problems import DatacompError, PlatformFault
from datacomp_server.accounts.service import Viewer
from datacomp_server.clock import now
from datacomp_server.dependencies import SESSION_COOKIE, find_viewer, get_database, get_settings
from datacomp_server.errors import Forbidden, Refusal, TooLarge
from datacomp_server.pages.contexts import Page, Person, Site
from datacomp_server.pages.rendering import render
from datacomp_server.pages.security import form_token, same
from datacomp_server.settings import Settings

FORM_COOKIE = "datacomp_form"
SMALL_FORM = 65_536


class Malformed(Refusal):
    """A request body that is not a form."""

    status = 400


def page_viewer(request: Request) -> Viewer | None:
    """Who looks at a page: by browser session only, never by API token."""
    cookie = request.cookies.get(SESSION_COOKIE)
    return find_viewer(request, get_database(request), get_settings(request), None, cookie)


PageViewer = Annotated[Viewer | None, Depends(page_viewer)]


def _form_cookie(request: Request) -> str:
    """The visitor's random cookie; a new one is made once per request and set by `answer`."""
    known = request.cookies.get(FORM_COOKIE)
    if known:
        return known
    if not hasattr(request.state, "form_cookie"):
        request.state.form_cookie = secrets.token_urlsafe(24)
    made: str = request.state.form_cookie
    return made


def expected_csrf(request: Request, viewer: Viewer | None) -> str:
    """The token that a form of this visitor must carry."""
    if viewer is not None and viewer.csrf:
        return viewer.csrf
    return form_token(get_settings(request).secret_key.get_secret_value(), _form_cookie(request))


def site_for(request: Request, viewer: Viewer | None) -> Site:
    """The frame around a page."""
    settings = get_settings(request)
    return Site(
        viewer=Person(viewer.name, viewer.role.value) if viewer else None,
        csrf=expected_csrf(request, viewer),
        path=request.url.path,
        public_url=settings.public_url,
        now=now(),
        registration_open=settings.registration_open,
    )


def anonymous_site(request: Request) -> Site:
    """The frame around a page without forms for visitors who are not signed in: the same for all of them."""
    settings = get_settings(request)
    return Site(
        viewer=None,
        csrf="",
        path=request.url.path,
        public_url=settings.public_url,
        now=now(),
        registration_open=settings.registration_open,
    )


def answer(request: Request, page: Page, status: int = 200, template: str | None = None) -> HTMLResponse:
    """A page as an answer; sets the form cookie where one was made."""
    response = HTMLResponse(render(page, template), status_code=status, headers={"Cache-Control": "no-store"})
    made = getattr(request.state, "form_cookie", None)
    if made is not None:
        set_cookie(response, get_settings(request), FORM_COOKIE, made)
    return response


def set_cookie(response: Response, settings: Settings, name: str, value: str, max_age: int | None = None) -> None:
    """A cookie that scripts cannot read, and that other sites' forms do not send."""
    response.set_cookie(
        name, value, max_age=max_age, path="/", httponly=True, samesite="lax", secure=settings.cookie_secure
    )


def go(path: str) -> RedirectResponse:
    """After a form: look at another page."""
    return RedirectResponse(path, status_code=303)


def check_csrf(request: Request, viewer: Viewer | None, sent: object) -> None:
    """Refuse a form that does not come from one of our pages."""
    foreign = request.headers.get("sec-fetch-site") == "cross-site"
    if foreign or not isinstance(sent, str) or not same(sent, expected_csrf(request, viewer)):
        raise Forbidden.of(
            "form-expired",
            "this form is out of date, or was not sent from this site",
            hint="go back, reload the page and send the form again; cookies must be allowed",
        )


async def read_form(request: Request, limit: int) -> FormData:
    """A form of at most `limit` bytes in all; files go to disk as they come in.

    Raises `TooLarge` or `Malformed`.
    """
    seen = 0

    async def limited() -> AsyncGenerator[bytes, None]:
        nonlocal seen
        async for block in request.stream():
            seen += len(block)
            if seen > limit:
                raise TooLarge.of("form-too-large", f"the form is larger than {limit:,} bytes", where="file")
            yield block

    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise TooLarge.of("form-too-large", f"the form is larger than {limit:,} bytes", where="file")
    kind = request.headers.get("content-type", "")
    try:
        if kind.startswith("multipart/form-data"):
            return await MultiPartParser(request.headers, limited(), max_files=1, max_fields=20).parse()
        if kind.startswith("application/x-www-form-urlencoded"):
            return await FormParser(request.headers, limited()).parse()
    except (MultiPartException, UnicodeDecodeError) as error:
        raise Malformed.of("form-malformed", f"the form cannot be read: {error}") from error
    except ClientDisconnect as error:
        raise Malformed.of("upload-cut", "the connection ended before the form did", hint="send it again") from error
    except OSError as error:
        raise spool_fault(error) from error
    raise Malformed.of("form-malformed", "this is not a form")


def spool_fault(error: OSError) -> PlatformFault:
    """The fault of a file that could not be written to the temporary folder."""
    message = f"the server could not set the file aside: {error}"
    return PlatformFault.of("spool-failed", message, hint="free space in the server's temporary folder, then try again")


async def small_form(request: Request) -> FormData:
    """A form without files."""
    return await read_form(request, SMALL_FORM)


SmallForm = Annotated[FormData, Depends(small_form)]


def text_of(form: FormData, name: str) -> str:
    """A text field, without blanks around it; empty when absent."""
    value = form.get(name)
    return value.strip() if isinstance(value, str) else ""


def viewer_or_none(request: Request) -> Viewer | None:
    """As `page_viewer`, for error pages: a database that is away must not hide the error."""
    try:
        return page_viewer(request)
    except (SQLAlchemyError, DatacompError):
        return None
