"""What people are told about the queue: positions, live workers, and plainly when nobody serves it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta

from sqlalchemy.orm import Session

from datacomp.messages import RunState
from datacomp_server.accounts.service import Viewer
from datacomp_server.clock import now
from datacomp_server.runs.models import Run, Worker
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.scheduling import fair_order
from datacomp_server.runs.schemas import QueueLane, QueueOut, QueueRun, WorkerOut
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

BEHIND = "the same work is being done for an equal submission; its outputs will be taken over"
WORKERS_SHOWN = timedelta(days=1)
PLACES = re.compile(r"(['\"])[^'\"]*[/\\][^'\"]*\1|\[[^\]]*\]|[^\s:,;()]*[/\\][^\s,;()]*")
"""Paths, quoted or not, and the place that a problem names in brackets."""


class QueueService:
    """Reads the queue."""

    def __init__(self, session: Session, settings: Settings) -> None:
        self.runs = RunRepository(session)
        self.settings = settings

    def overview(self, viewer: Viewer | None = None) -> QueueOut:
        """All queues that hold runs or have live workers, and the workers of the last day. Why a worker runs no code is
        told to organisers word by word, to others without places on its host."""
        whole = viewer is not None and viewer.organiser
        at = now()
        workers = self.runs.workers_since(at - WORKERS_SHOWN)
        live = [worker for worker in workers if self._alive(worker)]
        rows = self.runs.lane_rows()
        names = {run.queue for run, _ in rows} | {queue for worker in live for queue in worker.queues}
        positions = self.positions(sorted(names))
        lanes = [
            QueueLane(name=name, live_workers=_serving(live, name), runs=self._lane(rows, name, positions, live))
            for name in sorted(names)
        ]
        shown = [
            WorkerOut(
                name=worker.name,
                queues=worker.queues,
                alive=self._alive(worker),
                busy=worker.busy,
                no_code=worker.no_code if whole else in_words(worker.no_code),
                last_seen=worker.last_seen,
            )
            for worker in workers
        ]
        return QueueOut(queues=lanes, workers=shown, generated_at=at)

    def positions(self, queues: Iterable[str]) -> dict[str, tuple[int, int]]:
        """Place and number of queued runs in its queue, by run."""
        ageing = timedelta(seconds=self.settings.ageing_seconds)
        found: dict[str, tuple[int, int]] = {}
        for queue in queues:
            candidates = self.runs.candidates([queue])
            loads = self.runs.loads(list({candidate.party for candidate in candidates}))
            for place, candidate in enumerate(fair_order(candidates, loads, now(), ageing), 1):
                found[candidate.run] = (place, len(candidates))
        return found

    def notes(self, runs: Iterable[Run]) -> dict[str, str]:
        """What to say about each queued run."""
        queued = [run for run in runs if run.state is RunState.QUEUED]
        if not queued:
            return {}
        live = self.live_workers()
        positions = self.positions({run.queue for run in queued})
        behind = self.runs.queued_behind_running_work([run.id for run in queued])
        return {run.id: BEHIND if run.id in behind else _note(run, positions, live) for run in queued}

    def live_workers(self) -> list[Worker]:
        """Workers seen within three heartbeats."""
        return self.runs.workers_since(now() - timedelta(seconds=self.settings.worker_alive_seconds))

    def no_code(self, queue: str) -> str:
        """Why no live worker of a queue can run participants' code; empty when one can, or none is alive."""
        return _no_code(self.live_workers(), queue)

    def _alive(self, worker: Worker) -> bool:
        return now() - worker.last_seen <= timedelta(seconds=self.settings.worker_alive_seconds)

    @staticmethod
    def _lane(
        rows: list[tuple[Run, Submission]], name: str, positions: dict[str, tuple[int, int]], live: list[Worker]
    ) -> list[QueueRun]:
        lane = []
        for run, submission in rows:
            if run.queue != name:
                continue
            queued = run.state is RunState.QUEUED
            lane.append(
                QueueRun(
                    run=run.id,
                    submission=submission.id,
                    board=submission.board_name,
                    method=submission.method,
                    participant=submission.user.name,
                    stage=run.stage,
                    seed=run.seed,
                    rehearsal=submission.rehearsal,
                    state=run.state,
                    since=run.queued_at if queued else run.started_at,
                    position=positions[run.id][0] if queued and run.id in positions else None,
                    worker=run.worker,
                    note=_note(run, positions, live) if queued else "",
                )
            )
        return sorted(lane, key=lambda item: item.position or 0)


def _serving(live: list[Worker], queue: str) -> int:
    return sum(queue in worker.queues for worker in live)


def _no_code(live: list[Worker], queue: str) -> str:
    reasons = [in_words(worker.no_code) for worker in live if queue in worker.queues]
    return "; ".join(sorted(set(reasons))) if reasons and all(reasons) else ""


def in_words(reason: str) -> str:
    """A reason without paths and names of hosts: what they are called there is nobody's business but organisers'."""
    return " ".join(PLACES.sub(" … ", reason).replace(" … :", " …:").split())


def _note(run: Run, positions: dict[str, tuple[int, int]], live: list[Worker]) -> str:
    if not _serving(live, run.queue):
        return f"no worker serves queue {run.queue}"
    if run.runs_code and (reason := _no_code(live, run.queue)):
        return f"no worker of queue {run.queue} can run code: {reason}"
    if run.id not in positions:
        return ""
    place, count = positions[run.id]
    return f"position {place} of {count} in queue {run.queue}"
