"""Forgotten passwords: asking for a link, and choosing a new password by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.background import BackgroundTask
from starlette.responses import Response

from datacomp.messages import PasswordChange
from datacomp.problems import BadInput, DatacompError
from datacomp_server.accounts.reset import PasswordReset
from datacomp_server.dependencies import DatabaseDep, SettingsDep
from datacomp_server.errors import status_of
from datacomp_server.notices.service import check_email
from datacomp_server.pages.people import password_of
from datacomp_server.pages.people_contexts import ForgottenPage, ResetPage
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, site_for, text_of

router = APIRouter(prefix="/account", include_in_schema=False)


@router.get("/forgotten")
def forgotten_page(request: Request, viewer: PageViewer, settings: SettingsDep) -> Response:
    """The form, or what to do where no mail is sent."""
    return answer(request, ForgottenPage(site=site_for(request, viewer), available=settings.mail))


@router.post("/forgotten")
def forgotten(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Mail a link. The answer is the same whether anybody has the address, and is given before that is looked up."""
    check_csrf(request, viewer, form.get("csrf"))
    reset, email = PasswordReset(database, settings), text_of(form, "email")
    page = ForgottenPage(site=site_for(request, viewer), available=settings.mail, email=email[:200])
    try:
        reset.require_mail()
        check_email(email)
    except DatacompError as error:
        return answer(request, replace(page, problems=list(error.problems)), status_of(error))
    reply = answer(request, replace(page, done=True))
    reply.background = BackgroundTask(reset.mail_links, email)
    return reply


@router.get("/reset")
def reset_page(
    request: Request,
    viewer: PageViewer,
    database: DatabaseDep,
    settings: SettingsDep,
    code: Annotated[str, Query(max_length=1000)] = "",
) -> Response:
    """Where a link leads. Nothing happens yet, because mail scanners follow links."""
    name = PasswordReset(database, settings).name_of(code)
    return answer(request, ResetPage(site=site_for(request, viewer), code=code, name=name))


@router.post("/reset")
def reset(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Another password; every browser session ends."""
    check_csrf(request, viewer, form.get("csrf"))
    service, code, new = PasswordReset(database, settings), text_of(form, "code")[:1000], password_of(form, "new")
    page = ResetPage(site=site_for(request, viewer), code=code, name=service.name_of(code))
    try:
        if new != password_of(form, "again"):
            raise BadInput.of("password-differs", "the new password was typed in two ways", "again", "type it anew")
        service.reset(code, _checked(new), tokens=text_of(form, "tokens") == "yes")
    except DatacompError as error:
        return answer(request, replace(page, problems=list(error.problems)), status_of(error))
    return answer(request, replace(page, done=True))


def _checked(password: str) -> str:
    """The password, if an account may have it."""
    try:
        return PasswordChange(current="", new=password).new
    except ValidationError as error:
        hint = "use 8 to 200 characters"
        raise BadInput.of("password-invalid", "the new password is too short or too long", "new", hint) from error
