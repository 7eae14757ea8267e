"""Sends what is owed: at least once, again with growing pauses, and in the end not any more.

It holds no state that matters. A notice is taken by moving its next try into the future, sent without a transaction,
then marked; killed in between, it is sent once more under the same id. Several notifiers may run at once.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from datacomp.problems import BadInput
from datacomp_server.accounts.models import User
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.notices.models import Notice, NoticeKind
from datacomp_server.notices.repository import NoticeRepository
from datacomp_server.notices.sending import Call, NotSent, call_webhook, send_mail
from datacomp_server.notices.service import describe, signing_key
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

log = logging.getLogger(__name__)
BATCH = 20
LONGEST_PAUSE = timedelta(hours=6)
HOLD = timedelta(minutes=2)
"""How long a notice that was taken is left to who took it, beside the time that sending may take."""


@dataclass(frozen=True)
class Letter:
    """A notice that was taken, with all that sending it needs."""

    notice_id: str
    tries: int
    call: Call | None = None
    mail_to: str | None = None
    subject: str = ""
    text: str = ""


@dataclass
class Notifier:
    """Everything that is told to people and their programs."""

    database: Database
    settings: Settings

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; a database that is away is waited for."""
        pause = 1.0
        while not stop.wait(pause):
            try:
                self.step()
                pause = 1.0
            except SQLAlchemyError as error:
                log.warning("notices wait: %s", type(error).__name__)
                pause = 5.0
            except Exception:  # a fault of ours with one notice, which is tried again later, must not end the others
                log.exception("notices wait")
                pause = 5.0

    def step(self) -> int:
        """Send what is due; returns how many were tried."""
        with self.database.read() as session:
            if not NoticeRepository(session).has_due(now()):
                return 0
        letters = self._take()
        for letter in letters:
            self._mark(letter, self._send(letter))
        return len(letters)

    def _take(self) -> list[Letter]:
        letters = []
        with self.database.write() as session:
            for notice in NoticeRepository(session).take_due(now(), BATCH):
                notice.tries += 1
                notice.due_at = now() + HOLD + timedelta(seconds=BATCH * self.settings.notice_timeout)
                letter = self._letter(session, notice)
                if letter is None:
                    notice.due_at, notice.given_up_at, notice.error = None, now(), "nobody is there to be told"
                else:
                    letters.append(letter)
        return letters

    def _letter(self, session: Session, notice: Notice) -> Letter | None:
        submission = session.get(Submission, notice.submission_id)
        if submission is None:
            return None
        told = describe(submission, self.settings.public_url) | notice.body
        if notice.kind is NoticeKind.MAIL:
            user = session.get(User, notice.user_id)
            if user is None or not user.email or not user.email_confirmed_at or not self.settings.mail:
                return None
            subject, text = mail_text(told)
            return Letter(notice.id, notice.tries, mail_to=user.email, subject=subject, text=text)
        webhook = NoticeRepository(session).webhook(notice.target)
        if webhook is None or not self.settings.webhooks:
            return None
        payload = {"type": notice.event, "timestamp": notice.created_at.isoformat(), "data": told}
        call = Call(webhook.url, signing_key(self.settings, webhook), notice.id, payload)
        return Letter(notice.id, notice.tries, call=call)

    def _send(self, letter: Letter) -> str:
        """Send; returns what went wrong, empty when nothing did."""
        try:
            if letter.call is not None:
                call_webhook(letter.call, self.settings)
            else:
                send_mail(self.settings, letter.mail_to or "", letter.subject, letter.text, letter.notice_id)
        except (NotSent, BadInput) as error:
            return str(error)[:500]
        return ""

    def _mark(self, letter: Letter, error: str) -> None:
        at = now()
        with self.database.write() as session:
            notice = NoticeRepository(session).notice(letter.notice_id)
            if notice is None or notice.tries != letter.tries:
                return  # deleted, or taken by another meanwhile
            notice.error = error
            if not error:
                notice.due_at, notice.delivered_at = None, at
            elif letter.tries >= self.settings.notice_tries:
                notice.due_at, notice.given_up_at = None, at
                log.warning("notice %s given up after %d tries: %s", notice.id, notice.tries, error)
            else:
                pause = timedelta(seconds=self.settings.notice_seconds * 2 ** min(letter.tries - 1, 16))
                notice.due_at = at + min(pause, LONGEST_PAUSE)


def mail_text(body: Mapping[str, Any]) -> tuple[str, str]:
    """Subject and text of a mail."""
    state = body["state"]
    subject = f"{body['method']}: {state}"
    whose = f"the team {body['team']}" if body["team"] else body["participant"]
    lines = (
        f'"{body["method"]}" by {whose} on {body["board"]} is {state}.',
        "",
        f"Receipt: {body['url']}",
        "",
        "You asked for this mail on your account's page, where you can also stop it.",
    )
    return subject, "\n".join(lines) + "\n"
