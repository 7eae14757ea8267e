"""The Celery application: the doorbell. A ring says that a queue has runs; which ones, the server decides on claim.

A ring is acknowledged when it is taken up, so no broker time-out ever spans a training run; a lost ring is rung again
by the dispatcher, and a ring too many finds nothing to claim.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

from celery import Celery

from datacomp.problems import DatacompError
from datacomp_worker.api import WorkerApi
from datacomp_worker.pipeline import Worker
from datacomp_worker.sandbox import why_no_code
from datacomp_worker.settings import WorkerSettings

logger = logging.getLogger(__name__)
RING = "datacomp.ring"


def broker_options(url: str, directory: Path) -> dict[str, Any]:
    """Transport options: the file-system broker's folders (made when absent), nothing for others."""
    if not url.startswith("filesystem"):
        return {}
    queue, control = directory / "queue", directory / "control"
    for folder in (queue, control):
        folder.mkdir(parents=True, exist_ok=True)
    return {"data_folder_in": str(queue), "data_folder_out": str(queue), "control_folder": str(control)}


class Presence(threading.Thread):
    """Tells the server every few seconds that this worker is alive, idle or busy."""

    def __init__(self, api: WorkerApi, settings: WorkerSettings, queues: tuple[str, ...], no_code: str) -> None:
        super().__init__(name="presence", daemon=True)
        self._api, self._settings, self._queues, self._no_code = api, settings, queues, no_code
        self.run_in_progress: str | None = None

    def set_busy(self, run: str | None) -> None:
        """Note the run in progress."""
        self.run_in_progress = run

    def run(self) -> None:
        """Say hello for ever; an unreachable server is no reason to stop."""
        pause = threading.Event()
        while True:
            try:
                broker_options(self._settings.broker_url, self._settings.broker)  # folders that were deleted come back
                self._api.hello(self._settings.worker_name, list(self._queues), self.run_in_progress, self._no_code)
            except (DatacompError, OSError) as error:
                logger.debug("hello failed: %s", error)
            pause.wait(self._settings.hello_seconds)


def make_app(settings: WorkerSettings) -> Celery:
    """A Celery app that listens to the broker of these settings."""
    app = Celery("datacomp", broker=settings.broker_url)
    app.conf.update(
        broker_transport_options=broker_options(settings.broker_url, settings.broker),
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # a broker that is away is waited for, however long
        task_acks_late=False,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        task_create_missing_queues=True,
    )
    return app


def serve(settings: WorkerSettings, queues: tuple[str, ...]) -> None:
    """Run a worker on these queues until it is told to stop."""
    api = WorkerApi(settings.server_url, settings.worker_token.get_secret_value())
    no_code = why_no_code()
    if no_code:
        logger.warning("this worker takes no participants' code: %s", no_code)
    presence = Presence(api, settings, queues, no_code)
    worker = Worker(api, settings, queues, presence.set_busy, no_code)
    app = make_app(settings)

    def answer(queue: str) -> None:
        """Take up a ring: work until nothing is left to claim."""
        try:
            done = worker.serve()
        except DatacompError as error:
            logger.warning("ring of %s: %s (the dispatcher rings again)", queue, error)
        else:
            logger.debug("ring of %s answered with %d runs", queue, done)

    app.task(name=RING)(answer)
    presence.start()
    # One run at a time in this very process: a solo pool has no second process to lose track of.
    arguments = ["worker", "--pool=solo", "-Q", ",".join(queues), "-n", f"{settings.worker_name}@%h", "--loglevel=INFO"]
    app.worker_main([*arguments, "--without-gossip", "--without-mingle", "--without-heartbeat"])
