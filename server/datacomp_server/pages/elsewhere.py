"""Signing in by another provider: on the way there, back, and the choice of a name for somebody new."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from datacomp.messages import AccountName
from datacomp.problems import DatacompError, Problem
from datacomp_server.accounts.identities import Elsewhere, IdentityService, fitting_name
from datacomp_server.accounts.providers import PATH, Providers, providers
from datacomp_server.accounts.service import Viewer
from datacomp_server.accounts.sessions import SignedIn
from datacomp_server.dependencies import DatabaseDep, SettingsDep, get_database, get_settings
from datacomp_server.errors import Forbidden, status_of
from datacomp_server.pages.people import welcome
from datacomp_server.pages.people_contexts import NamePage
from datacomp_server.pages.security import local_path
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, site_for, text_of

router = APIRouter(prefix=PATH.rstrip("/"), include_in_schema=False)
NAME: TypeAdapter[str] = TypeAdapter(AccountName)


@router.get("/new")
def choose_name(request: Request, viewer: PageViewer) -> Response:
    """Somebody new chooses the name that boards will show."""
    return _name_page(request, viewer, _pending(request))


@router.post("/new")
def make_account(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Make the account and sign in to it."""
    check_csrf(request, viewer, form.get("csrf"))
    who, name = _pending(request), text_of(form, "name")
    try:
        NAME.validate_python(name)
    except ValueError:
        problem = Problem(
            code="name-invalid",
            message="the name does not fit",
            where="name",
            hint="use 2 to 39 letters, digits, dots, dashes, underscores; begin with a letter or digit",
        )
        return _name_page(request, viewer, who, name, [problem], 422)
    try:
        with database.write() as session:
            signed_in = IdentityService(session, settings).register(who, name)
    except DatacompError as error:
        return _name_page(request, viewer, who, name, list(error.problems), status_of(error))
    return _welcome(request, signed_in)


@router.get("/{provider}")
async def leave(
    provider: str,
    request: Request,
    viewer: PageViewer,
    next_path: Annotated[str, Query(alias="next", max_length=500)] = "/account",
) -> Response:
    """To the provider; whoever is signed in comes back to connect it."""
    request.session.clear()
    request.session["next"] = local_path(next_path, "/account")
    if viewer is not None:
        request.session["connect"] = viewer.user_id
    return await _providers(request).leave(request, provider)


@router.get("/{provider}/callback")
async def arrive(provider: str, request: Request, viewer: PageViewer) -> Response:
    """Back from the provider."""
    who = await _providers(request).arrive(request, provider)
    return await run_in_threadpool(_settle, request, viewer, who)


def _settle(request: Request, viewer: Viewer | None, who: Elsewhere) -> Response:
    database, settings = get_database(request), get_settings(request)
    connecting = request.session.pop("connect", None)
    if connecting is not None:
        if viewer is None or viewer.user_id != connecting:
            raise Forbidden.of("not-proved", "somebody else is signed in by now", hint="connect it once more")
        with database.write() as session:
            IdentityService(session, settings).connect(viewer, who)
        return go("/account/settings?done=connected")
    with database.write() as session:
        signed_in = IdentityService(session, settings).sign_in(who)
    if signed_in is not None:
        return _welcome(request, signed_in)
    with database.read() as session:
        IdentityService(session, settings).has_account(who)
    request.session["pending"] = asdict(who)
    return go(f"{PATH}new")


def _welcome(request: Request, signed_in: SignedIn) -> Response:
    target = local_path(str(request.session.get("next", "/account")), "/account")
    request.session.clear()
    return welcome(request, signed_in, target)


def _pending(request: Request) -> Elsewhere:
    pending = request.session.get("pending")
    if pending is None:
        raise Forbidden.of("not-proved", "this took too long", hint="sign in once more")
    return Elsewhere(**pending)


def _providers(request: Request) -> Providers:
    made: Providers = request.app.state.providers
    return made


def _name_page(
    request: Request,
    viewer: Viewer | None,
    who: Elsewhere,
    name: str | None = None,
    problems: list[Problem] | None = None,
    status: int = 200,
) -> Response:
    settings = get_settings(request)
    with get_database(request).read() as session:
        known = IdentityService(session, settings).has_account(who)
    page = NamePage(
        site=site_for(request, viewer),
        provider=next((item.name for item in providers(settings) if item.key == who.provider), who.provider),
        login=who.login,
        name=fitting_name(who.login) if name is None else name,
        has_account=known,
        problems=problems or [],
    )
    return answer(request, page, status)
