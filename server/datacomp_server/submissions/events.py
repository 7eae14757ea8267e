"""A submission's events as a stream (SSE): the history after a point, then what happens, until it is final.

History is in the database, so a stream that breaks goes on from its `Last-Event-ID`. Progress is not history: it is
read off the run rows when a heartbeat has changed them, and carries the id of the last line of history before it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from starlette.concurrency import run_in_threadpool

from datacomp.messages import EventOut, Progress, RunState
from datacomp_server.database import Database
from datacomp_server.runs.models import Run
from datacomp_server.runs.repository import RunRepository
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.submissions.repository import SubmissionRepository
from datacomp_server.submissions.service import SubmissionService
from datacomp_server.submissions.states import FINAL

KEEP_ALIVE_SECONDS = 15.0
RETRY = "retry: 1000\n\n"
"""How long browsers wait before they ask again, in milliseconds."""


@dataclass
class Feed:
    """Reads one submission's events piece by piece. Holds no connection in between."""

    database: Database
    settings: Settings
    storage: Storage
    submission: str
    last: int
    """Id of the last line of history that was sent."""
    heard: dict[str, datetime] = field(default_factory=dict)
    """Last heartbeat that was sent on, by run."""

    def read(self) -> tuple[list[EventOut], bool]:
        """What is new, and whether nothing will follow."""
        with self.database.read() as session:
            row = SubmissionRepository(session).get(self.submission)
            final = row is None or row.state in FINAL
            history = SubmissionService(session, self.settings, self.storage).history(self.submission, self.last)
            if history:
                self.last = history[-1].id
                return history, False  # more may have come meanwhile, or be left
            runs = [] if final else RunRepository(session).of_submission(self.submission)
            return [event for run in runs if (event := self._news(run)) is not None], final

    def _news(self, run: Run) -> EventOut | None:
        if run.state is not RunState.RUNNING or run.heard_at is None or self.heard.get(run.id) == run.heard_at:
            return None
        self.heard[run.id] = run.heard_at
        what = "progress" if run.progress else "attempt" if run.heard_at == run.started_at else "log"
        return EventOut(
            id=self.last,
            at=run.heard_at,
            submission=self.submission,
            run=run.id,
            stage=run.stage,
            what=what,
            actor=f"worker:{run.worker}",
            progress=Progress.model_validate(run.progress) if run.progress else None,
        )


async def stream(feed: Feed) -> AsyncIterator[str]:
    """The feed as server-sent events, looked at every `event_poll_seconds`."""
    yield RETRY
    spoke = time.monotonic()
    while True:
        news, final = await run_in_threadpool(feed.read)
        for event in news:
            yield render_event(event)
        if final:
            return
        if news:
            spoke = time.monotonic()
        elif time.monotonic() - spoke > KEEP_ALIVE_SECONDS:
            yield ": still here\n\n"
            spoke = time.monotonic()
        if not (news and news[-1].what == "state"):
            await asyncio.sleep(feed.settings.event_poll_seconds)


def render_event(event: EventOut) -> str:
    """One event. Only lines of history carry an id, so that a reader who comes back misses none."""
    identity = f"id: {event.id}\n" if event.what == "state" else ""
    return f"{identity}event: {event.what}\ndata: {event.model_dump_json()}\n\n"
