"""Signing in and out, making an account, tokens, one's own submissions."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from datacomp.messages import Registration
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.entry import Entry
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService, SignedIn
from datacomp_server.dependencies import (
    SESSION_COOKIE,
    DatabaseDep,
    SettingsDep,
    StorageDep,
    get_settings,
)
from datacomp_server.errors import status_of
from datacomp_server.pages.contexts import AccountPage, SignInPage, SubmissionLine, TokenLine
from datacomp_server.pages.security import local_path
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, set_cookie, site_for, text_of
from datacomp_server.submissions.service import SubmissionService

router = APIRouter(prefix="/account", include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=500)]
LONGEST_LABEL = 80
MESSAGES = {
    "name": (
        "the name does not fit",
        "use 2 to 39 letters, digits, dots, dashes, underscores; begin with a letter or digit",
    ),
    "password": ("the password is too short or too long", "use 8 to 200 characters"),
    "email": ("the e-mail address is too long", "use at most 200 characters, or leave it empty"),
}


@router.get("/sign-in")
def sign_in_page(request: Request, viewer: PageViewer, next_path: Next = "/account") -> Response:
    """The form."""
    return _sign_in_form(request, viewer, False, next_path)


@router.get("/register")
def register_page(request: Request, viewer: PageViewer, next_path: Next = "/account") -> Response:
    """The form."""
    return _sign_in_form(request, viewer, True, next_path)


@router.post("/sign-in")
def sign_in(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Open a browser session."""
    check_csrf(request, viewer, form.get("csrf"))
    try:
        signed_in = Entry(database, settings).sign_in(text_of(form, "name"), _password(form))
    except DatacompError as error:
        return _sign_in_form(request, viewer, False, text_of(form, "next"), form, error)
    return _welcome(request, signed_in, form)


@router.post("/register")
def register(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Make an account and open a browser session for it."""
    check_csrf(request, viewer, form.get("csrf"))
    try:
        signed_in = Entry(database, settings).register_and_sign_in(_registration(form))
    except DatacompError as error:
        return _sign_in_form(request, viewer, True, text_of(form, "next"), form, error)
    return _welcome(request, signed_in, form)


@router.post("/sign-out")
def sign_out(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Close the browser session."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is not None and viewer.session_id is not None:
        with database.write() as session:
            SessionService(session, settings).close(viewer, viewer.session_id)
    response = go("/")
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


@router.get("")
def account(
    request: Request, viewer: PageViewer, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> Response:
    """Tokens and own submissions."""
    if viewer is None:
        return go("/account/sign-in?next=/account")
    return answer(request, _account_page(request, viewer, database, settings, storage))


@router.post("/tokens")
def make_token(
    request: Request,
    viewer: PageViewer,
    form: SmallForm,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> Response:
    """A new API token, shown in this one answer."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go("/account/sign-in?next=/account")
    label = text_of(form, "label")
    if not 1 <= len(label) <= LONGEST_LABEL:
        message = f"the label must have 1 to {LONGEST_LABEL} characters"
        problem = Problem(code="label-invalid", message=message, where="label")
        return answer(request, _account_page(request, viewer, database, settings, storage, problems=[problem]), 422)
    with database.write() as session:
        token = AccountService(session, settings).token_of(viewer, label).token
    return answer(request, _account_page(request, viewer, database, settings, storage, new_token=token))


@router.post("/tokens/{token_id}/revoke")
def revoke_token(
    token_id: str,
    request: Request,
    viewer: PageViewer,
    form: SmallForm,
    database: DatabaseDep,
    settings: SettingsDep,
) -> Response:
    """Delete one of one's own tokens."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go("/account/sign-in?next=/account")
    with database.write() as session:
        AccountService(session, settings).revoke_token(viewer, token_id)
    return go("/account")


def _password(form: FormData) -> str:
    """As typed: blanks belong to a password."""
    value = form.get("password")
    return value if isinstance(value, str) else ""


def _registration(form: FormData) -> Registration:
    try:
        return Registration(name=text_of(form, "name"), password=_password(form), email=text_of(form, "email") or None)
    except ValidationError as error:
        fields = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
        problems = [
            Problem(code=f"{field}-invalid", message=MESSAGES[field][0], where=field, hint=MESSAGES[field][1])
            for field in fields
        ]
        raise BadInput(*problems) from error


def _sign_in_form(
    request: Request,
    viewer: Viewer | None,
    register: bool,
    next_path: str,
    form: FormData | None = None,
    error: DatacompError | None = None,
) -> Response:
    page = SignInPage(
        site=site_for(request, viewer),
        register=register,
        name=text_of(form, "name") if form else "",
        email=text_of(form, "email") if form else "",
        next_path=local_path(next_path, "/account"),
        problems=list(error.problems) if error else [],
    )
    return answer(request, page, status_of(error) if error else 200)


def _welcome(request: Request, signed_in: SignedIn, form: FormData) -> Response:
    response = go(local_path(text_of(form, "next"), "/account"))
    set_cookie(response, get_settings(request), SESSION_COOKIE, signed_in.cookie, signed_in.max_age)
    return response


def _account_page(
    request: Request,
    viewer: Viewer,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
    *,
    new_token: str | None = None,
    problems: list[Problem] | None = None,
) -> AccountPage:
    with database.read() as session:
        tokens = AccountService(session, settings).tokens(viewer)
        own = SubmissionService(session, settings, storage).list_own(viewer)
    return AccountPage(
        site=site_for(request, viewer),
        tokens=[
            TokenLine(
                token.id,
                token.label,
                token.created_at,
                token.last_used_at,
            )
            for token in tokens
        ],
        submissions=[
            SubmissionLine(
                id=line.id,
                method=line.method,
                board=line.board,
                kind=line.kind.value,
                state=line.state,
                rehearsal=line.rehearsal,
                created_at=line.created_at,
                subset_size=line.subset_size,
            )
            for line in own
        ],
        new_token=new_token,
        problems=problems or [],
    )
