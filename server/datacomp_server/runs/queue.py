"""What people are told about the queue: positions, live workers, and plainly when nobody serves it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from datacomp.messages import RunState
from datacomp_server.accounts.service import Viewer
from datacomp_server.clock import now
from datacomp_server.runs.forecast import Work, expected_waits
from datacomp_server.runs.models import Run, Worker
from datacomp_server.runs.repository import RunRepository
from datacomp_server.runs.scheduling import Candidate, fair_order
from datacomp_server.runs.schemas import QueueLane, QueueOut, QueueRun, WorkerOut
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission

Starts = dict[str, tuple[datetime, datetime]]
"""When half and nine tenths of such waits end, by run."""
BEHIND = "the same work is being done for an equal submission; its outputs will be taken over"
WORKERS_SHOWN = timedelta(days=1)
SOON = timedelta(seconds=2)
"""What is expected to start so soon is next."""
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
        ordered = self._ordered(sorted(names))
        positions, starts = _positions(ordered), self._starts(ordered, live, at)
        lanes = [
            QueueLane(name=name, live_workers=_serving(live, name), runs=_lane(rows, name, positions, starts, live))
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

    def _ordered(self, queues: Iterable[str]) -> dict[str, list[Candidate]]:
        """Queued runs of each queue in the order in which they would be served."""
        ageing = timedelta(seconds=self.settings.ageing_seconds)
        found = {}
        for queue in queues:
            candidates = self.runs.candidates([queue])
            loads = self.runs.loads(list({candidate.party for candidate in candidates}))
            found[queue] = list(fair_order(candidates, loads, now(), ageing))
        return found

    def _starts(self, ordered: dict[str, list[Candidate]], live: list[Worker], at: datetime) -> Starts:
        """When each of these runs may be expected to start."""
        if not any(ordered.values()):
            return {}
        busy = self.runs.busy()
        boards = {each.board for line in ordered.values() for each in line} | {work.board for work, _ in busy.values()}
        history = {work: took for board in sorted(boards) for work, took in self.runs.durations(board).items()}
        found = {}
        for queue, line in ordered.items():
            at_work = [busy.get(worker.name) for worker in live if queue in worker.queues]
            workers = [None if each is None else (each[0], (at - each[1]).total_seconds()) for each in at_work]
            works = [Work(each.board, each.stage, each.rehearsal) for each in line]
            for each, wait in zip(line, expected_waits(workers, works, history), strict=True):
                if wait is not None:
                    found[each.run] = wait.between(at)
        return found

    def notes(self, runs: Iterable[Run]) -> dict[str, str]:
        """What to say about each queued run."""
        queued = [run for run in runs if run.state is RunState.QUEUED]
        if not queued:
            return {}
        live = self.live_workers()
        # What nobody can take up has no position worth reckoning.
        ordered = self._ordered({run.queue for run in queued if not _blocked(run, live)})
        positions, starts = _positions(ordered), self._starts(ordered, live, now())
        behind = self.runs.queued_behind_running_work([run.id for run in queued])
        return {run.id: BEHIND if run.id in behind else _note(run, positions, live, starts) for run in queued}

    def live_workers(self) -> list[Worker]:
        """Workers seen within three heartbeats."""
        return self.runs.workers_since(now() - timedelta(seconds=self.settings.worker_alive_seconds))

    def no_code(self, queue: str) -> str:
        """Why no live worker of a queue can run participants' code; empty when one can, or none is alive."""
        return _no_code(self.live_workers(), queue)

    def _alive(self, worker: Worker) -> bool:
        return now() - worker.last_seen <= timedelta(seconds=self.settings.worker_alive_seconds)


def _positions(ordered: dict[str, list[Candidate]]) -> dict[str, tuple[int, int]]:
    """Place and number of queued runs in its queue, by run."""
    return {each.run: (place, len(line)) for line in ordered.values() for place, each in enumerate(line, 1)}


def _lane(
    rows: list[tuple[Run, Submission]],
    name: str,
    positions: dict[str, tuple[int, int]],
    starts: Starts,
    live: list[Worker],
) -> list[QueueRun]:
    lane = []
    for run, submission in rows:
        if run.queue != name:
            continue
        queued = run.state is RunState.QUEUED
        half, most = (None, None) if queued and _blocked(run, live) else starts.get(run.id, (None, None))
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
                starts_p50=half,
                starts_p90=most,
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


def _blocked(run: Run, live: list[Worker]) -> str:
    """Why nobody takes up a run, whatever its position; empty where somebody may."""
    if not _serving(live, run.queue):
        return f"no worker serves queue {run.queue}"
    if run.runs_code and (reason := _no_code(live, run.queue)):
        return f"no worker of queue {run.queue} can run code: {reason}"
    return ""


def _note(run: Run, positions: dict[str, tuple[int, int]], live: list[Worker], starts: Starts | None = None) -> str:
    blocked = _blocked(run, live)
    if blocked or run.id not in positions:
        return blocked
    place, count = positions[run.id]
    return f"position {place} of {count} in queue {run.queue}{_expected((starts or {}).get(run.id))}"


def _expected(start: tuple[datetime, datetime] | None) -> str:
    """When a run may be expected to start, in words; empty where nobody can tell, and where it is next."""
    if start is None or start[1] - now() < SOON:
        return ""
    early, late = (f"{moment:%-d %b %H:%M}" for moment in start)
    span = f"at about {early}" if early == late else f"between {early} and {late}"
    return f"; expected to start {span} UTC"
