"""The dispatcher: rings the doorbell for what was queued, and looks after what nobody else would notice.

It holds no state that matters: rings that are owed are in the outbox, leases in the attempts. Killed at any point and
started again it goes on, and several may run at once; the worst that happens is a ring too many.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from datacomp.problems import DatacompError
from datacomp_server.accounts.housekeeping import forget_old
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.leaderboard.ranking import Ranker
from datacomp_server.notices.notifier import Notifier
from datacomp_server.operation.retention import sweep_files
from datacomp_server.runs.claiming import Claims
from datacomp_server.runs.doorbell import Doorbell
from datacomp_server.runs.repository import RunRepository
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage
from datacomp_server.uploads.housekeeping import expire_uploads, sweep

log = logging.getLogger(__name__)
BATCH = 100
CALM_SECONDS = 60.0
"""How often stale uploads and delivered rings are looked for."""
HOUR = 3600.0
REMEMBER = timedelta(hours=1)
"""How long delivered rings are kept, for whoever wants to know what happened."""
BACKOFF_SECONDS = 2.0


@dataclass
class Dispatcher:
    """Everything that happens without anybody asking."""

    database: Database
    settings: Settings
    storage: Storage
    doorbell: Doorbell
    _due: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._ranker = Ranker(self.database)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop`; a database or broker that is away is waited for."""
        pause = self.settings.dispatch_seconds
        log.info("dispatching; queues that nobody serves are rung again every %g s", self.settings.ring_again_seconds)
        if self.settings.webhooks or self.settings.mail:
            # Beside the rings, because people's own servers may be slow.
            notifier = Notifier(self.database, self.settings)
            threading.Thread(target=notifier.run, args=(stop,), name="notices", daemon=True).start()
        while not stop.wait(pause):
            try:
                self.step()
                pause = self.settings.dispatch_seconds
            except (DatacompError, SQLAlchemyError) as error:
                log.warning("dispatching goes on in %s s: %s", BACKOFF_SECONDS, error)
                pause = BACKOFF_SECONDS
            except Exception:  # a fault of ours in one duty, which must not end the others
                log.exception("dispatching goes on in %s s", BACKOFF_SECONDS)
                pause = BACKOFF_SECONDS

    def step(self) -> None:
        """One look at everything that is due. A duty that fails keeps no other from being done; then it is told."""
        claims = Claims(self.database, self.settings, self.storage)
        duties: list[tuple[str, float, Callable[[], object]]] = [
            ("outbox", 0.0, self.deliver),
            ("leases", min(1.0, self.settings.heartbeat_seconds), self._expire),
            ("deadlines", 1.0, self._enforce_deadlines),
            ("equal work", 1.0, claims.take_over),
            ("rings", min(1.0, self.settings.ring_again_seconds), self.ring_again),
            ("uploads", CALM_SECONDS, self.cancel_stale_uploads),
            ("pieces", CALM_SECONDS, self.sweep_uploads),
            ("files", HOUR, self.sweep_files),
            ("delivered", CALM_SECONDS, self.forget_delivered),
            ("ranks", 1.0, self._ranker.sweep_due),
            ("accounts", HOUR, partial(forget_old, self.database, self.settings)),
        ]
        failed: list[Exception] = []
        for name, seconds, act in duties:
            if self._is_due(name, seconds):
                try:
                    act()
                except Exception as error:
                    failed.append(error)
        if failed:
            raise failed[0]

    def deliver(self) -> int:
        """Ring for every row of the outbox that is owed; returns how many.

        A row is marked in the transaction that rang for it: if that fails after the ring, it is rung once more.
        """
        rung = 0
        while True:
            with self.database.read() as session:
                if not RunRepository(session).has_undelivered():
                    return rung
            with self.database.write() as session:
                rows = RunRepository(session).undelivered(BATCH)
                for row in rows:
                    self.doorbell.ring(row.queue)
                    row.delivered_at = now()
            rung += len(rows)
            if not rows:
                return rung  # another dispatcher holds what is owed

    def ring_again(self) -> list[str]:
        """Ring once more for queues whose runs nobody claimed for `ring_again_seconds`; returns those queues.

        Rings get lost when a worker is killed. While one still lies in the queue none is added: where no worker serves
        a queue they would pile up.
        """
        pause = self.settings.ring_again_seconds
        with self.database.read() as session:
            waiting = RunRepository(session).queues_waiting_since(now() - timedelta(seconds=pause))
        rung = []
        for queue in waiting:
            if self._is_due(f"ring {queue}", pause) and not self.doorbell.waiting(queue):
                self.doorbell.ring(queue)
                rung.append(queue)
        return rung

    def cancel_stale_uploads(self) -> int:
        """Cancel submissions whose file never came, and give their quota back; returns how many."""
        return expire_uploads(self.database, self.settings, self.storage)

    def sweep_uploads(self) -> None:
        """Remove what uploads left in storage and nothing needs any more."""
        sweep(self.database, self.storage)

    def sweep_files(self) -> None:
        """Remove stored files whose time is up."""
        sweep_files(self.database, self.settings, self.storage)

    def forget_delivered(self) -> None:
        """Delete rings that were delivered long ago."""
        with self.database.write() as session:
            RunRepository(session).forget_delivered(now() - REMEMBER)

    def _expire(self) -> None:
        overdue = Claims(self.database, self.settings, self.storage).expire()
        if overdue:
            log.info("%d leases ran out", overdue)

    def _enforce_deadlines(self) -> None:
        overdue = Claims(self.database, self.settings, self.storage).enforce_deadlines()
        if overdue:
            log.warning("%d runs overran their deadline", overdue)

    def _is_due(self, name: str, seconds: float) -> bool:
        at = time.monotonic()
        if at < self._due.get(name, 0.0):
            return False
        self._due[name] = at + seconds
        return True
