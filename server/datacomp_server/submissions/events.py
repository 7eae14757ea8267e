"""A submission's events as streams (SSE): the history after a point, then what happens, until it is final.

History is in the database, so a stream that breaks goes on from its `Last-Event-ID`. Progress is not history: it is
read off the run rows when a heartbeat has changed them. However many people watch, the database is asked once per look
what changed at all, and once per submission that did: everybody who watches it is told from that one answer.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.exc import SQLAlchemyError
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

log = logging.getLogger(__name__)

KEEP_ALIVE_SECONDS = 15.0
RETRY = "retry: 1000\n\n"
"""How long browsers wait before they ask again, in milliseconds."""
MOST_UNREAD = 500
"""A reader who is so many events behind is let go; it comes back and reads them from the history."""
OVERLAP = 2000
"""So many ids are looked at again: transactions commit in another order than their events were numbered."""


@dataclass
class Feed:
    """Reads one submission's events piece by piece. Holds no connection in between."""

    database: Database
    settings: Settings
    storage: Storage
    submission: str
    last: int
    """Id of the last line of history that was read."""
    heard: dict[str, datetime] = field(default_factory=dict)
    """Last heartbeat that was passed on, by run."""

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


class Reader:
    """One open stream: what it has not sent yet."""

    def __init__(self) -> None:
        self.unread: asyncio.Queue[EventOut | None] = asyncio.Queue(MOST_UNREAD + 1)

    def put(self, event: EventOut | None) -> None:
        """Hand over an event, or the end (None), which a reader far behind gets instead."""
        if self.unread.qsize() <= MOST_UNREAD:
            self.unread.put_nowait(None if self.unread.qsize() == MOST_UNREAD else event)


@dataclass
class Channel:
    """Everybody who watches one submission."""

    feed: Feed
    readers: set[Reader] = field(default_factory=set)
    looked_at: float = field(default_factory=time.monotonic)


class Hub:
    """All open streams of a server process. One task looks for news while there is any."""

    def __init__(self, database: Database, settings: Settings, storage: Storage) -> None:
        self.database, self.settings, self.storage = database, settings, storage
        self._channels: dict[str, Channel] = {}
        self._task: asyncio.Task[None] | None = None
        self._seen: set[int] = set()
        """Ids of the last `OVERLAP` events."""
        self._newest = 0
        self._heard_at: dict[str, datetime] = {}

    async def watch(self, submission: str, last: int) -> AsyncIterator[str]:
        """A submission's events after a line of its history, as server-sent events."""
        yield RETRY
        reader = Reader()
        channel = self._channels.setdefault(submission, Channel(self._feed(submission, last)))
        channel.readers.add(reader)
        try:
            feed = self._feed(submission, last)
            while True:
                news, final = await run_in_threadpool(feed.read)
                for event in news:
                    yield render_event(event)
                if final:
                    return
                if not news or news[-1].what != "state":
                    break
            self._ensure_looking()
            async for heard in _unread(reader):
                if heard is None:
                    yield ": still here\n\n"
                elif heard.what != "state" or heard.id > feed.last:
                    yield render_event(heard)
        finally:
            channel.readers.discard(reader)
            if not channel.readers and self._channels.get(submission) is channel:
                del self._channels[submission]

    def _feed(self, submission: str, last: int) -> Feed:
        return Feed(self.database, self.settings, self.storage, submission, last)

    def _ensure_looking(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look_on())

    async def _look_on(self) -> None:
        """Look for news as long as anybody watches."""
        while self._channels:
            await asyncio.sleep(self.settings.event_poll_seconds)
            try:
                changed = await run_in_threadpool(self._changed)
                for submission, channel in list(self._channels.items()):
                    # Once in a while everything is read, so that nothing depends on having noticed each change.
                    if submission in changed or time.monotonic() - channel.looked_at > KEEP_ALIVE_SECONDS:
                        await self._tell(channel)
            except SQLAlchemyError as error:
                log.warning("looking for events failed, it is tried again: %s", error)

    def _changed(self) -> set[str]:
        """Submissions with events or heartbeats that were not there at the last look."""
        with self.database.read() as session:
            newest, events = SubmissionRepository(session).events_since(self._newest - OVERLAP)
            heard = RunRepository(session).heard()
        changed = {submission for number, submission in events if number not in self._seen}
        self._newest = max(newest, self._newest)
        self._seen = {number for number, _ in events}
        changed |= {submission for submission, at in heard.items() if self._heard_at.get(submission) != at}
        self._heard_at = heard
        return changed

    async def _tell(self, channel: Channel) -> None:
        """Read a submission's news and pass them on."""
        channel.looked_at = time.monotonic()
        while True:
            news, final = await run_in_threadpool(channel.feed.read)
            for event in news:
                for reader in channel.readers:
                    reader.put(event)
            if final:
                for reader in channel.readers:
                    reader.put(None)
                return
            if not news or news[-1].what != "state":
                return


async def _unread(reader: Reader) -> AsyncIterator[EventOut | None]:
    """Events as they come, until the end; None where nothing came for a while."""
    while True:
        try:
            event = await asyncio.wait_for(reader.unread.get(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            yield None
            continue
        if event is None:
            return
        yield event


def render_event(event: EventOut) -> str:
    """One event. Only lines of history carry an id, so that a reader who comes back misses none."""
    identity = f"id: {event.id}\n" if event.what == "state" else ""
    return f"{identity}event: {event.what}\ndata: {event.model_dump_json()}\n\n"
