"""An account's settings: password, sessions, sign-in elsewhere, mail, webhooks, export, deletion."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import ValidationError
from sqlalchemy.orm import Session
from starlette.responses import Response

from datacomp.messages import Deletion, Keep, MailSetting, PasswordChange, WebhookOut
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_server.accounts.export import Exporter
from datacomp_server.accounts.identities import IdentityService
from datacomp_server.accounts.leaving import LeavingService
from datacomp_server.accounts.providers import providers
from datacomp_server.accounts.service import AccountService, Viewer
from datacomp_server.accounts.sessions import SessionService
from datacomp_server.audit.service import Audit
from datacomp_server.dependencies import (
    DatabaseDep,
    EntryDep,
    SettingsDep,
    StorageDep,
    WishesDep,
    get_database,
    get_settings,
)
from datacomp_server.errors import status_of
from datacomp_server.notices.service import NoticeService
from datacomp_server.pages.people import password_of, signed_out
from datacomp_server.pages.people_contexts import ConfirmPage, SettingsPage
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, go, site_for, text_of

router = APIRouter(prefix="/account", include_in_schema=False)
SIGN_IN = "/account/sign-in?next=/account/settings"
DONE = {
    "password": "The password is changed. Every other browser is signed out.",
    "session": "That browser is signed out.",
    "connected": "Connected: you may sign in that way from now on.",
    "disconnected": "Disconnected.",
    "mail": "Your wishes about mail are kept.",
    "webhook": "The webhook is deleted.",
}
BROWSERS = re.compile(r"\b(Edg|OPR|Firefox|HeadlessChrome|Chrome|Version)/(\d+)")
SYSTEMS = re.compile(r"Windows|Android|iPhone|iPad|Macintosh|CrOS|Linux")
NOTICES = 20
ACTIVITY = 20


@router.get("/settings")
def settings_page(request: Request, viewer: PageViewer, done: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Everything that can be changed about an account."""
    if viewer is None:
        return go(SIGN_IN)
    return answer(request, _page(request, viewer, done=DONE.get(done, "")))


@router.post("/password")
def change_password(request: Request, viewer: PageViewer, form: SmallForm, entry: EntryDep) -> Response:
    """Another password."""

    def act(viewer: Viewer) -> None:
        try:
            change = PasswordChange(current=password_of(form, "current"), new=password_of(form, "new"))
        except ValidationError as error:
            hint = "use 8 to 200 characters"
            raise BadInput.of("password-invalid", "the new password is too short or too long", "new", hint) from error
        if change.new != password_of(form, "again"):
            raise BadInput.of("password-differs", "the new password was typed in two ways", "again", "type it anew")
        entry.change_password(viewer, change.current, change.new)

    return _change(request, viewer, form, act, "password")


@router.post("/sessions/{session_id}/close")
def close_session(session_id: str, request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Sign one browser out."""

    def act(viewer: Viewer) -> None:
        with get_database(request).write() as session:
            SessionService(session, get_settings(request)).close(viewer, session_id)

    return _change(request, viewer, form, act, "session")


@router.post("/sign-out-everywhere")
def sign_out_everywhere(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """Close all browser sessions, this one too; tokens on request."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is not None:
        with database.write() as session:
            SessionService(session, settings).close_all(viewer, tokens=text_of(form, "tokens") == "yes")
    return signed_out("/account/sign-in")


@router.post("/identities/{identity_id}/disconnect")
def disconnect(identity_id: str, request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Do not let somebody elsewhere sign in any more."""

    def act(viewer: Viewer) -> None:
        with get_database(request).write() as session:
            IdentityService(session, get_settings(request)).disconnect(viewer, identity_id)

    return _change(request, viewer, form, act, "disconnected")


@router.post("/mail")
def set_mail(request: Request, viewer: PageViewer, form: SmallForm, wishes: WishesDep) -> Response:
    """Mail at the end of submissions, or none."""

    def act(viewer: Viewer) -> None:
        email = text_of(form, "email")
        if len(email) > 200:
            raise BadInput.of("email-invalid", "this is not an e-mail address", where="email")
        wishes.set_mail(viewer, MailSetting(email=email or None, on_final=text_of(form, "on_final") == "yes"))

    return _change(request, viewer, form, act, "mail")


@router.get("/confirm")
def confirm_page(request: Request, viewer: PageViewer, code: Annotated[str, Query(max_length=1000)] = "") -> Response:
    """Where the link in a mail leads: asks for a click, because mail scanners follow links."""
    return answer(request, ConfirmPage(site=site_for(request, viewer), code=code))


@router.post("/confirm")
def confirm(request: Request, viewer: PageViewer, form: SmallForm, wishes: WishesDep) -> Response:
    """The address is its owner's."""
    check_csrf(request, viewer, form.get("csrf"))
    wishes.confirm(text_of(form, "code"))
    return answer(request, ConfirmPage(site=site_for(request, viewer), code="", done=True))


@router.post("/webhooks")
def add_webhook(
    request: Request, viewer: PageViewer, form: SmallForm, database: DatabaseDep, settings: SettingsDep
) -> Response:
    """A new webhook, its secret shown in this one answer."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    try:
        with database.write() as session:
            made = NoticeService(session, settings).add_webhook(viewer, text_of(form, "url")[:2000])
    except DatacompError as error:
        return answer(request, _page(request, viewer, problems=list(error.problems)), status_of(error))
    return answer(request, _page(request, viewer, new_webhook=made))


@router.post("/webhooks/{webhook_id}/delete")
def delete_webhook(webhook_id: str, request: Request, viewer: PageViewer, form: SmallForm) -> Response:
    """Delete a webhook."""

    def act(viewer: Viewer) -> None:
        with get_database(request).write() as session:
            NoticeService(session, get_settings(request)).delete_webhook(viewer, webhook_id)

    return _change(request, viewer, form, act, "webhook")


@router.post("/export")
def export(
    request: Request,
    viewer: PageViewer,
    form: SmallForm,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> Response:
    """Everything that is stored about the account, as a file."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    body = Exporter(database, settings, storage).export(viewer).model_dump_json(indent=2)
    name = f'attachment; filename="datacomp-{viewer.name}.json"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


@router.post("/delete")
def delete_account(
    request: Request,
    viewer: PageViewer,
    form: SmallForm,
    entry: EntryDep,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> Response:
    """Delete the account, for good."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    try:
        keep = text_of(form, "submissions")
        if keep not in set(Keep):
            raise BadInput.of("choice-missing", "choose what becomes of your results", where="submissions")
        password, name = password_of(form)[:200], text_of(form, "name")[:200]
        entry.confirm(viewer, Deletion(submissions=Keep(keep), password=password, name=name))
        with database.write() as session:
            LeavingService(session, settings, storage).delete(viewer, Keep(keep))
    except DatacompError as error:
        return answer(request, _page(request, viewer, problems=list(error.problems)), status_of(error))
    return signed_out("/")


def _change(
    request: Request, viewer: Viewer | None, form: SmallForm, act: Callable[[Viewer], None], done: str
) -> Response:
    """Do what a form asks for, then back to the page; what is not possible is said there."""
    check_csrf(request, viewer, form.get("csrf"))
    if viewer is None:
        return go(SIGN_IN)
    try:
        act(viewer)
    except DatacompError as error:
        return answer(request, _page(request, viewer, problems=list(error.problems)), status_of(error))
    return go(f"/account/settings?done={done}")


def _page(
    request: Request,
    viewer: Viewer,
    *,
    done: str = "",
    new_webhook: WebhookOut | None = None,
    problems: list[Problem] | None = None,
) -> SettingsPage:
    settings = get_settings(request)
    with get_database(request).read() as session:
        identities = IdentityService(session, settings).identities(viewer)
        notices = NoticeService(session, settings)
        return SettingsPage(
            site=site_for(request, viewer),
            has_password=_has_password(session, request, viewer),
            sessions=[
                line.model_copy(update={"client": browser_of(line.client)})
                for line in SessionService(session, settings).list_open(viewer)
            ],
            providers=[item for item in providers(settings) if item.key not in {row.provider for row in identities}],
            identities=identities,
            mail=notices.mail(viewer),
            webhooks_available=settings.webhooks,
            webhooks=notices.webhooks(viewer),
            notices=notices.notices(viewer, NOTICES),
            activity=Audit(session, settings).read(account=viewer.user_id, limit=ACTIVITY),
            done=done,
            new_webhook=new_webhook,
            problems=problems or [],
        )


def browser_of(client: str) -> str:
    """What a browser calls itself, in words that people know; others are cut."""
    browser, system = BROWSERS.search(client), SYSTEMS.search(client)
    if browser is None:
        return client[:40]
    name = {"Edg": "Edge", "OPR": "Opera", "Version": "Safari", "HeadlessChrome": "Chrome"}.get(*2 * (browser[1],))
    return f"{name} {browser[2]}" + (f" on {system[0]}" if system else "")


def _has_password(session: Session, request: Request, viewer: Viewer) -> bool:
    return AccountService(session, get_settings(request)).user(viewer).password_hash is not None
