"""Signing in and out, making an account, one's own submissions, quotas and tokens."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from pydantic import ValidationError
from starlette.datastructures import FormData
from starlette.responses import Response

from datacomp.messages import Registration, Scope
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.providers import providers
from datacomp_server.accounts.service import SCOPES, AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService, SignedIn
from datacomp_server.dependencies import (
    SESSION_COOKIE,
    DatabaseDep,
    EntryDep,
    SettingsDep,
    StorageDep,
    get_settings,
)
from datacomp_server.errors import status_of
from datacomp_server.pages.contexts import AccountPage, SignInPage, SubmissionLine, TokenLine
from datacomp_server.pages.security import local_path
from datacomp_server.pages.signed import Sent, SignedPage, attempt, signed_form
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, set_cookie, site_for, text_of
from datacomp_server.submissions.service import SubmissionService

router = APIRouter(prefix="/account", include_in_schema=False)

Next = Annotated[str, Query(alias="next", max_length=500)]
AccountForm = Annotated[Sent, Depends(signed_form("/account"))]
LONGEST_LABEL = 80
LONGEST_DAYS = 3650
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
def sign_in(request: Request, viewer: PageViewer, form: SmallForm, entry: EntryDep) -> Response:
    """Open a browser session."""
    check_csrf(request, viewer, form.get("csrf"))
    try:
        signed_in = entry.sign_in(text_of(form, "name"), password_of(form))
    except DatacompError as error:
        return _sign_in_form(request, viewer, False, text_of(form, "next"), form, error)
    return welcome(request, signed_in, text_of(form, "next"))


@router.post("/register")
def register(request: Request, viewer: PageViewer, form: SmallForm, entry: EntryDep) -> Response:
    """Make an account and open a browser session for it."""
    check_csrf(request, viewer, form.get("csrf"))
    try:
        signed_in = entry.register_and_sign_in(_registration(form))
    except DatacompError as error:
        return _sign_in_form(request, viewer, True, text_of(form, "next"), form, error)
    return welcome(request, signed_in, text_of(form, "next"))


@router.post("/sign-out")
def sign_out(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Close the browser session."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is not None and viewer.session_id is not None:
        with database.write() as session:
            SessionService(session, settings).close(viewer, viewer.session_id)
    return signed_out("/")


@router.get("")
def account(
    request: Request, viewer: SignedPage, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> Response:
    """Submissions, quotas and tokens."""
    return answer(request, _account_page(request, viewer, database, settings, storage))


@router.post("/tokens")
def make_token(
    request: Request, sent: AccountForm, database: DatabaseDep, settings: SettingsDep, storage: StorageDep
) -> Response:
    """A new API token, shown in this one answer."""

    def page(*, problems: list[Problem] | None = None, new_token: str | None = None) -> AccountPage:
        return _account_page(request, sent.viewer, database, settings, storage, problems=problems, new_token=new_token)

    def act() -> AccountPage:
        label, scopes, days = _token_wish(sent)
        with database.write() as session:
            accounts = AccountService(session, settings)
            token = accounts.token_of(sent.viewer, label, scopes=scopes, expires_days=days).token
        return page(new_token=token)

    return attempt(request, act, lambda problems: page(problems=problems))


@router.post("/tokens/{token_id}/revoke")
def revoke_token(token_id: str, sent: AccountForm, database: DatabaseDep, settings: SettingsDep) -> Response:
    """Delete one of one's own tokens."""
    with database.write() as session:
        AccountService(session, settings).revoke_token(sent.viewer, token_id)
    return go("/account")


def password_of(form: FormData, name: str = "password") -> str:
    """As typed: blanks belong to a password."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def welcome(request: Request, signed_in: SignedIn, target: str) -> Response:
    """Set the session's cookie and go on."""
    response = go(local_path(target, "/account"))
    set_cookie(response, get_settings(request), SESSION_COOKIE, signed_in.cookie, signed_in.max_age)
    return response


def signed_out(target: str) -> Response:
    """Forget the session's cookie and go on."""
    response = go(target)
    response.delete_cookie(SESSION_COOKIE, path="/")
    return response


def _registration(form: FormData) -> Registration:
    try:
        email = text_of(form, "email") or None
        return Registration(name=text_of(form, "name"), password=password_of(form), email=email)
    except ValidationError as error:
        fields = dict.fromkeys(str(item["loc"][0]) for item in error.errors())
        problems = [
            Problem(code=f"{field}-invalid", message=MESSAGES[field][0], where=field, hint=MESSAGES[field][1])
            for field in fields
        ]
        raise BadInput(*problems) from error


def _token_wish(sent: Sent) -> tuple[str, list[Scope] | None, int | None]:
    """Label, scopes (none chosen: all) and days of a token that is wished for; `BadInput` with all that is wrong."""
    problems = []
    label, days = sent.text("label"), sent.text("days")
    if not 1 <= len(label) <= LONGEST_LABEL:
        message = f"the label must have 1 to {LONGEST_LABEL} characters"
        problems.append(Problem(code="label-invalid", message=message, where="label"))
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days[:9]) <= LONGEST_DAYS):
        message = f"give a number of days from 1 to {LONGEST_DAYS}, or leave it empty"
        problems.append(Problem(code="days-invalid", message=message, where="days"))
    chosen = sent.texts("scope")
    if any(value not in SCOPES[sent.viewer.role] for value in chosen):
        problems.append(Problem(code="scope-not-yours", message="there is no such use of a token", where="scope"))
    if problems:
        raise BadInput(*problems)
    return label, [Scope(value) for value in chosen] or None, int(days) if days else None


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
        providers=providers(get_settings(request)),
        problems=list(error.problems) if error else [],
    )
    response = answer(request, page, status_of(error) if error else 200)
    again = getattr(error, "retry_after", None)
    if again is not None:
        response.headers["Retry-After"] = str(again)
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
        submissions = SubmissionService(session, settings, storage)
        own, quotas = submissions.list_own(viewer), submissions.standings(viewer)
    return AccountPage(
        site=site_for(request, viewer),
        tokens=[
            TokenLine(
                token.id,
                token.label,
                token.created_at,
                token.last_used_at,
                [scope.value for scope in token.scopes],
                token.expires_at,
                token.expired,
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
        quotas=[quota for quota in quotas if not quota.rehearsal or quota.day.used],
        team=viewer.team,
        scopes=[scope.value for scope in SCOPES[viewer.role]],
        new_token=new_token,
        problems=problems or [],
    )
