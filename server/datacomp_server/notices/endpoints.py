"""`/api/webhooks` and `/api/notices`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from datacomp.messages import MailSetting, MailSettingOut, NoticeOut, WebhookCreate, WebhookInfo, WebhookOut
from datacomp_server.dependencies import AccountDep, NoticeServiceDep, WishesDep
from datacomp_server.errors import refusals

router = APIRouter(prefix="/api", tags=["notices"])


@router.post("/webhooks", status_code=201, responses=refusals(401, 403, 409))
def add_webhook(create: WebhookCreate, viewer: AccountDep, notices: NoticeServiceDep) -> WebhookOut:
    """Have an address told when one of your submissions, or of your team's, ends."""
    return notices.add_webhook(viewer, create.url)


@router.get("/webhooks", responses=refusals(401, 403))
def list_webhooks(viewer: AccountDep, notices: NoticeServiceDep) -> list[WebhookInfo]:
    """Your webhooks."""
    return notices.webhooks(viewer)


@router.delete("/webhooks/{webhook}", status_code=204, responses=refusals(401, 403, 404))
def delete_webhook(webhook: str, viewer: AccountDep, notices: NoticeServiceDep) -> None:
    """Delete a webhook."""
    notices.delete_webhook(viewer, webhook)


@router.get("/notices", responses=refusals(401, 403))
def list_notices(
    viewer: AccountDep, notices: NoticeServiceDep, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> list[NoticeOut]:
    """What was and will be told to you, newest first: deliveries, tries, what went wrong, what was given up."""
    return notices.notices(viewer, limit)


@router.get("/accounts/me/mail", responses=refusals(401, 403))
def mail_setting(viewer: AccountDep, notices: NoticeServiceDep) -> MailSettingOut:
    """Whether and where you get mail."""
    return notices.mail(viewer)


@router.put("/accounts/me/mail", responses=refusals(401, 403))
def set_mail(wish: MailSetting, viewer: AccountDep, wishes: WishesDep) -> MailSettingOut:
    """Have mail when a submission ends, or not. A new address is sent a link that confirms it first."""
    return wishes.set_mail(viewer, wish)
