"""How one notice is sent: an HTTP request that is signed, or a mail."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Any

import httpcore

from datacomp_server.clock import now
from datacomp_server.notices.addresses import GuardedBackend, check_url
from datacomp_server.settings import Settings


class NotSent(Exception):
    """The notice did not arrive, or nobody said that it did. Says why in a few words, for its owner."""


@dataclass(frozen=True)
class Call:
    """A webhook that is to be called."""

    url: str
    key: bytes
    """That the call is signed with."""
    notice_id: str
    payload: Mapping[str, Any]


def call_webhook(call: Call, settings: Settings) -> None:
    """Send one call; `NotSent` unless the answer is a 2xx. Its body is not read."""
    check_url(call.url, private=settings.webhook_private)
    body = json.dumps(call.payload, separators=(",", ":")).encode()
    backend = GuardedBackend(private=settings.webhook_private, seconds=settings.notice_timeout)
    headers = [("Content-Type", "application/json"), ("User-Agent", "datacomp-webhook"), *signed(call, body).items()]
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=ssl.create_default_context(), network_backend=backend, max_connections=1
            ) as pool,
            pool.stream("POST", call.url, headers=headers, content=body) as answer,
        ):
            status = answer.status
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
        raise NotSent(f"no answer: {str(error) or type(error).__name__}") from error
    if not 200 <= status < 300:
        raise NotSent(f"the answer was {status}")


def signed(call: Call, body: bytes) -> dict[str, str]:
    """The headers of the Standard Webhooks specification: id, time, and HMAC-SHA256 over both and the body."""
    moment = str(int(now().timestamp()))
    content = b".".join((call.notice_id.encode(), moment.encode(), body))
    signature = base64.b64encode(hmac.new(call.key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": call.notice_id, "webhook-timestamp": moment, "webhook-signature": f"v1,{signature}"}


def send_mail(settings: Settings, to: str, subject: str, text: str, message_id: str | None = None) -> None:
    """Send a mail; `NotSent` unless the mail server took it. Blocks."""
    mail = EmailMessage()
    mail["From"], mail["To"] = settings.mail_from, to
    mail["Subject"] = " ".join(subject.split())
    mail["Auto-Submitted"] = "auto-generated"
    if message_id:
        domain = settings.mail_from.rpartition("@")[2].strip("> ") or "datacomp"
        mail["Message-ID"] = f"<{message_id}@{domain}>"
    mail.set_content(text)
    try:
        with _smtp(settings) as server:
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password.get_secret_value())
            server.send_message(mail)
    except (smtplib.SMTPException, OSError) as error:
        raise NotSent(f"the mail server did not take it: {type(error).__name__}") from error


def _smtp(settings: Settings) -> smtplib.SMTP:
    place = (settings.smtp_host, settings.smtp_port)
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(*place, timeout=settings.notice_timeout, context=ssl.create_default_context())
    server = smtplib.SMTP(*place, timeout=settings.notice_timeout)
    if settings.smtp_security == "starttls":
        server.starttls(context=ssl.create_default_context())
    return server
