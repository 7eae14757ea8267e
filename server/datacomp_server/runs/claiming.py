"""Claiming, expiring, taking over, one short transaction per try: none ever holds two submissions' locks."""

from __future__ import annotations

from dataclasses import dataclass

from datacomp.messages import ClaimRequest, Job
from datacomp_server.clock import now
from datacomp_server.database import Database
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.service import WorkerService
from datacomp_server.settings import Settings
from datacomp_server.storage import Storage


@dataclass(frozen=True)
class Claims:
    """Hands out runs and takes them back."""

    database: Database
    settings: Settings
    storage: Storage

    def claim(self, request: ClaimRequest) -> Job | None:
        """The best run of the request's queues, claimed; None when there is none."""
        self.expire()
        with self.database.read() as session:
            candidates = WorkerService(session, self.settings, self.storage).candidates(request)
        for candidate in candidates:
            with self.database.write() as session:
                service = WorkerService(session, self.settings, self.storage)
                job = service.try_claim(candidate, request)
            if job is not None:
                return job
        with self.database.write() as session:
            service = WorkerService(session, self.settings, self.storage)
            service.see(request.worker, request.queues, None, request.no_code)
        return None

    def expire(self) -> int:
        """Hand on every run whose lease ran out; returns how many attempts were overdue."""
        with self.database.read() as session:
            overdue = RunRepository(session).overdue(now())
        for attempt_id in overdue:
            with self.database.write() as session:
                WorkerService(session, self.settings, self.storage).expire(attempt_id)
        return len(overdue)

    def enforce_deadlines(self) -> int:
        """Hand on or fail every run that was in its state for too long; returns how many."""
        with self.database.read() as session:
            overdue = RunRepository(session).overdue_runs(now())
        for run_id in overdue:
            with self.database.write() as session:
                WorkerService(session, self.settings, self.storage).overrun(run_id)
        return len(overdue)

    def take_over(self) -> int:
        """Give queued runs the outputs of the same work that was finished meanwhile; returns how many submissions.

        Equal submissions that arrive at once are worked on once: while one runs, the others stay queued.
        """
        with self.database.read() as session:
            waiting = RunRepository(session).queued_behind_finished_work()
        for submission_id in waiting:
            with self.database.write() as session:
                WorkerService(session, self.settings, self.storage).take_over(submission_id)
        return len(waiting)
