"""An account's settings: password, sessions, sign-in elsewhere, mail, webhooks, export, deletion."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
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
from datacomp_server.pages.signed import Sent, SignedPage, attempt, signed_form
from datacomp_server.pages.web import PageViewer, SmallForm, answer, check_csrf, site_for, text_of

router = APIRouter(prefix="/account", include_in_schema=False)
SettingsForm = Annotated[Sent, Depends(signed_form("/account/settings"))]
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
def settings_page(request: Request, viewer: SignedPage, done: Annotated[str, Query(max_length=20)] = "") -> Response:
    """Everything that can be changed about an account."""
    return answer(request, _page(request, viewer, done=DONE.get(done, "")))


@router.post("/password")
def change_password(request: Request, sent: SettingsForm, entry: EntryDep) -> Response:
    """Another password."""

    def act() -> None:
        try:
            change = PasswordChange(current=password_of(sent.fields, "current"), new=password_of(sent.fields, "new"))
        except ValidationError as error:
            hint = "use 8 to 200 characters"
            raise BadInput.of("password-invalid", "the new password is too short or too long", "new", hint) from error
        if change.new != password_of(sent.fields, "again"):
            raise BadInput.of("password-differs", "the new password was typed in two ways", "again", "type it anew")
        entry.change_password(sent.viewer, change.current, change.new)

    return _change(request, sent, act, "password")


@router.post("/sessions/{session_id}/close")
def close_session(session_id: str, request: Request, sent: SettingsForm) -> Response:
    """Sign one browser out."""

    def act() -> None:
        with get_database(request).write() as session:
            SessionService(session, get_settings(request)).close(sent.viewer, session_id)

    return _change(request, sent, act, "session")


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
def disconnect(identity_id: str, request: Request, sent: SettingsForm) -> Response:
    """Do not let somebody elsewhere sign in any more."""

    def act() -> None:
        with get_database(request).write() as session:
            IdentityService(session, get_settings(request)).disconnect(sent.viewer, identity_id)

    return _change(request, sent, act, "disconnected")


@router.post("/mail")
def set_mail(request: Request, sent: SettingsForm, wishes: WishesDep) -> Response:
    """Mail at the end of submissions, or none."""

    def act() -> None:
        email = sent.text("email")
        if len(email) > 200:
            raise BadInput.of("email-invalid", "this is not an e-mail address", where="email")
        wishes.set_mail(sent.viewer, MailSetting(email=email or None, on_final=sent.text("on_final") == "yes"))

    return _change(request, sent, act, "mail")


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
def add_webhook(request: Request, sent: SettingsForm, database: DatabaseDep, settings: SettingsDep) -> Response:
    """A new webhook, its secret shown in this one answer."""

    def act() -> SettingsPage:
        with database.write() as session:
            made = NoticeService(session, settings).add_webhook(sent.viewer, sent.text("url")[:2000])
        return _page(request, sent.viewer, new_webhook=made)

    return attempt(request, act, lambda problems: _page(request, sent.viewer, problems=problems))


@router.post("/webhooks/{webhook_id}/delete")
def delete_webhook(webhook_id: str, request: Request, sent: SettingsForm) -> Response:
    """Delete a webhook."""

    def act() -> None:
        with get_database(request).write() as session:
            NoticeService(session, get_settings(request)).delete_webhook(sent.viewer, webhook_id)

    return _change(request, sent, act, "webhook")


@router.post("/export")
def export(sent: SettingsForm, database: DatabaseDep, settings: SettingsDep, storage: StorageDep) -> Response:
    """Everything that is stored about the account, as a file."""
    body = Exporter(database, settings, storage).export(sent.viewer).model_dump_json(indent=2)
    name = f'attachment; filename="datacomp-{sent.viewer.name}.json"'
    headers = {"Content-Disposition": name, "Cache-Control": "no-store"}
    return Response(body, media_type="application/json", headers=headers)


@router.post("/delete")
def delete_account(
    request: Request,
    sent: SettingsForm,
    entry: EntryDep,
    database: DatabaseDep,
    settings: SettingsDep,
    storage: StorageDep,
) -> Response:
    """Delete the account, for good."""
    try:
        keep = sent.text("submissions")
        if keep not in set(Keep):
            raise BadInput.of("choice-missing", "choose what becomes of your results", where="submissions")
        password, name = password_of(sent.fields)[:200], sent.text("name")[:200]
        entry.confirm(sent.viewer, Deletion(submissions=Keep(keep), password=password, name=name))
        with database.write() as session:
            LeavingService(session, settings, storage).delete(sent.viewer, Keep(keep))
    except DatacompError as error:
        return answer(request, _page(request, sent.viewer, problems=list(error.problems)), status_of(error))
    return signed_out("/")


def _change(request: Request, sent: Sent, act: Callable[[], None], done: str) -> Response:
    """Do what a form asks for, then back to the page; what is not possible is said there."""

    def go_on() -> str:
        act()
        return f"/account/settings?done={done}"

    return attempt(request, go_on, lambda problems: _page(request, sent.viewer, problems=problems))


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
