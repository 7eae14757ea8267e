"""The worker's side of a training child: start it, follow it, store its checkpoints, end it, say why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from datacomp.messages import Progress
from datacomp.problems import BadInput, DatacompError, PlatformFault
from datacomp_worker.stages.base import Reporter
from datacomp_worker.training.events import EVENTS_FILE, Checkpoint, Failed, Finished, Plan, Started, Step, parse
from datacomp_worker.training.recipe import samples_seen

CHILD = "datacomp_worker.training.child"
"""The child's program, run with `python -m`."""
POLL_SECONDS = 0.1
LOG_FILE = "training.log"
TAIL = 20
"""Lines of log that a failure carries."""


@dataclass
class Outcome:
    """What a child that ended well has made."""

    finished: Finished
    resumed_from: int


def run_child(plan: Plan, report: Reporter) -> Outcome:
    """Train in a child process. `Cancelled` from the reporter kills it; so does the end of this process.

    `BadInput` (`training-diverged`) or `PlatformFault` (`training-killed`, `training-out-of-memory`, ...).
    """
    plan.workdir.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(1, "store-checkpoint") as stores, _child(plan) as process:
        follower = _Follower(plan, report, stores)
        while process.poll() is None:
            follower.look()
            time.sleep(POLL_SECONDS)
        follower.look()
        follower.wait_for_stores()
        return follower.outcome(process.returncode)


@contextmanager
def _child(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    plan_file = plan.workdir / "plan.json"
    plan_file.write_text(plan.model_dump_json(indent=1))
    command = [sys.executable, "-m", CHILD, str(plan_file)]
    with (plan.workdir / LOG_FILE).open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=child_environment(plan, dict(os.environ)),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def child_environment(plan: Plan, environment: dict[str, str]) -> dict[str, str]:
    """The child's environment: no secrets of the worker, no downloads, and just the scale's threads."""
    kept = {name: value for name, value in environment.items() if not name.startswith("DATACOMP_")}
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        kept.pop(name, None)
    kept |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    if plan.scale.threads is not None:
        threads = str(plan.scale.threads)
        kept |= {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_DYNAMIC": "FALSE", "MKL_DYNAMIC": "FALSE"}
        # Two trainings may share the cores: threads that wait give way to those that work.
        kept["OMP_WAIT_POLICY"] = "PASSIVE"
        # Memory given back after every step has to be cleared by the kernel in the next: 30,000 page faults a step.
        kept |= {"MALLOC_TRIM_THRESHOLD_": str(1 << 32), "MALLOC_MMAP_THRESHOLD_": str(1 << 32)}
    return kept


@dataclass
class _Follower:
    """Reads what the child appends to its log and its events, and passes it on."""

    plan: Plan
    report: Reporter
    stores: ThreadPoolExecutor
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    _storing: list[Future[None]] = field(default_factory=list)
    _failed: Failed | None = None
    _finished: Finished | None = None
    _resumed_from: int = 0

    def __post_init__(self) -> None:
        self._log = _Lines(self.plan.workdir / LOG_FILE)
        self._events = _Lines(self.plan.workdir / EVENTS_FILE)

    def look(self) -> None:
        """Pass on what is new. Raises `Cancelled` when the run is no longer ours."""
        self.report.check()
        lines = [line.decode(errors="replace") for line in self._log.new()]
        if lines:
            self.tail.extend(lines)
            self.report.log("".join(lines))
        for line in self._events.new():
            self._take(line)
        for store in [store for store in self._storing if store.done()]:
            self._storing.remove(store)
            store.result()

    def _take(self, line: bytes) -> None:
        match parse(line):
            case Started() as started:
                self._resumed_from = started.epoch
                self.report.progress(self._progress(started.epoch * samples_seen(self.plan.scale) / self._epochs))
            case Step() as step:
                values = {"loss": step.loss, "learning_rate": step.learning_rate}
                self.report.progress(self._progress(step.samples, step.samples_per_second, values))
            case Checkpoint() as checkpoint if checkpoint.epoch < self._epochs:
                # In a thread of its own: a large file must not keep us from noticing that the run is cancelled.
                self._storing.append(self.stores.submit(self.report.store, checkpoint.file.name, checkpoint.file))
            case Finished() as finished:
                self._finished = finished
            case Failed() as failed:
                self._failed = self._failed or failed

    @property
    def _epochs(self) -> int:
        return self.plan.scale.checkpoints

    def _progress(self, done: float, rate: float | None = None, values: dict[str, float] | None = None) -> Progress:
        total = samples_seen(self.plan.scale)
        return Progress(done=done, total=total, unit="samples", rate=rate, values=values or {})

    def wait_for_stores(self) -> None:
        """Wait until every checkpoint is stored, or the run is no longer ours."""
        while self._storing:
            self.look()
            time.sleep(POLL_SECONDS)

    def outcome(self, status: int) -> Outcome:
        """What came of it, by exit status and events."""
        if self._failed is not None:
            raise (PlatformFault if self._failed.ours else BadInput)(self._failed.problem)
        if status == 0 and self._finished is not None:
            return Outcome(self._finished, self._resumed_from)
        raise self._unexplained(status)

    def _unexplained(self, status: int) -> DatacompError:
        last = next((line.strip() for line in reversed(self.tail) if line.strip()), "it left no log")
        if status == -signal.SIGKILL:
            hint = "most often the kernel did it for want of memory: see the host's log; the run is tried again"
            return PlatformFault.of("training-killed", f"the training process was killed; last line: {last}", hint=hint)
        if status < 0:
            message = f"the training process died of {signal.Signals(-status).name}; last line: {last}"
            return PlatformFault.of("training-crashed", message, hint="see the log; the run is tried again")
        message = f"the training process ended with status {status}: {last}"
        return PlatformFault.of("training-failed", message, hint="see the log; the run is tried again")


class _Lines:
    """The complete lines that a growing file has got since last time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def new(self) -> list[bytes]:
        try:
            with self._path.open("rb") as file:
                file.seek(self._at)
                data = file.read()
        except FileNotFoundError:
            return []
        end = data.rfind(b"\n") + 1
        self._at += end
        return data[:end].splitlines(keepends=True)
