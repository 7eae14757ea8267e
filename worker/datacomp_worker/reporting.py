"""The heartbeat: keeps the lease, carries progress and log to the server, notices when the run is no longer ours."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path

from datacomp.http import Refused
from datacomp.messages import FileRef, Job, Progress, Usage
from datacomp.problems import DatacompError
from datacomp_worker.api import WorkerApi
from datacomp_worker.stages.base import Cancelled
from datacomp_worker.usage import UsageMeter

logger = logging.getLogger(__name__)

FENCED = frozenset({404, 409, 410})
"""Statuses by which the server says that this attempt is over."""
LOG_LIMIT = 256 * 1024
"""Bytes of log kept between two heartbeats; a flood loses its middle, never the worker's memory."""


class HeartbeatReporter:
    """A `Reporter` whose thread beats every `job.heartbeat_seconds` until `stop`.

    The run counts as lost when the server refuses a heartbeat, asks to cancel, or has not answered for a whole lease:
    from then on every method raises `Cancelled`, and nothing more is written.
    """

    def __init__(self, api: WorkerApi, job: Job) -> None:
        self._api, self._job = api, job
        self._meter = UsageMeter(job.stage)
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._progress: Progress | None = None
        self._log: list[str] = []
        self._log_size = 0
        self._lost = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_stopped, name=f"heartbeat-{job.attempt}", daemon=True)
        self.stored: dict[str, FileRef] = {}

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> str:
        """End the heartbeat; returns the log that has not been sent."""
        self._stopping.set()
        self._thread.join()
        return self._take()[1]

    def rest(self) -> str:
        """The log that no heartbeat carries any more. It goes on beating: the server may take longer than a lease over
        what it is told at the end."""
        with self._sending:
            return self._take()[1]

    def progress(self, progress: Progress) -> None:
        """See `Reporter`."""
        self.check()
        self._progress = progress

    def log(self, text: str) -> None:
        """See `Reporter`."""
        with self._lock:
            if self._log_size < LOG_LIMIT:
                self._log.append(text[:LOG_LIMIT])
                self._log_size += len(text)
                if self._log_size >= LOG_LIMIT:
                    self._log.append("\n[... log cut: more came than is kept ...]\n")
        self.check()

    def check(self) -> None:
        """See `Reporter`."""
        if self._lost.is_set():
            raise Cancelled

    def store(self, name: str, path: Path) -> None:
        """See `Reporter`."""
        self.check()
        try:
            self.stored[name] = self._api.store(self._job, name, path)
        except Refused as error:
            if error.status in FENCED:
                self._lost.set()
                raise Cancelled from error
            raise

    @property
    def lost(self) -> bool:
        """Whether the run is no longer ours."""
        return self._lost.is_set()

    def usage(self) -> Usage:
        """What the attempt has used so far."""
        return self._meter.read()

    def _take(self) -> tuple[Progress | None, str]:
        with self._lock:
            progress, self._progress = self._progress, None
            text, self._log, self._log_size = "".join(self._log), [], 0
        return progress, text

    def _give_back(self, progress: Progress | None, text: str) -> None:
        with self._lock:
            self._progress = self._progress or progress
            self._log.insert(0, text)
            self._log_size += len(text)

    def _beat_until_stopped(self) -> None:
        answered = time.monotonic()
        while not self._stopping.wait(self._job.heartbeat_seconds):
            with self._sending:
                answered = time.monotonic() if self._beat() else answered
            if time.monotonic() - answered > self._job.lease_seconds:
                self._lost.set()
            if self._lost.is_set():
                return

    def _beat(self) -> bool:
        """One heartbeat; whether it was answered. What was not delivered is kept for the next."""
        progress, text = self._take()
        try:
            reply = self._api.heartbeat(self._job, progress, text, self.usage())
        except DatacompError as error:
            if isinstance(error, Refused) and error.status in FENCED:
                self._lost.set()
            else:
                self._give_back(progress, text)
                logger.warning("heartbeat of %s failed: %s", self._job.run, error)
            return False
        if reply.cancel:
            self._lost.set()
        return True
