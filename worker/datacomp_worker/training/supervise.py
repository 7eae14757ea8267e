"""The worker's side of a training child: start it, follow it, store its checkpoints, end it, say why it failed."""

from __future__ import annotations

import logging
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
from datacomp_worker.training.agents import FOREIGN
from datacomp_worker.training.events import (
    EVENTS_FILE,
    OUT_OF_MEMORY,
    Checkpoint,
    Failed,
    Finished,
    Plan,
    Started,
    Step,
    parse,
)
from datacomp_worker.training.pulse import Leash, StallWatch
from datacomp_worker.training.recipe import finer, samples_seen

logger = logging.getLogger(__name__)

CHILD = "datacomp_worker.training.child"
"""The child's program, run with `python -m`."""
POLL_SECONDS = 0.1
LOG_FILE = "training.log"
TAIL = 20
"""Lines of log that a failure carries."""
STALL_SECONDS = 1800.0
"""Without a sign of progress for so long, a training is ended."""
CANCEL_SECONDS = 20.0
"""How long a child that has a Slurm job may take to cancel it."""
LATE_SECONDS = 60.0
"""How late a disk that hosts share may show what another host wrote."""
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)


@dataclass
class Outcome:
    """What a child that ended well has made."""

    finished: Finished
    resumed_from: int
    accumulation: int = 1
    """Parts of a rank's share of the batch that memory had room for."""


def run_child(plan: Plan, report: Reporter, *, stall_seconds: float = STALL_SECONDS) -> Outcome:
    """Train in a child process. `Cancelled` from the reporter kills it; so does the end of this process.

    When memory is short of the batch, it is started again with gradients accumulated over smaller parts, until they
    fit. `BadInput` (`training-diverged`) or `PlatformFault` (`training-killed`, `training-out-of-memory`,
    `training-stalled`, ...).
    """
    plan.workdir.mkdir(parents=True, exist_ok=True)
    resumed_from: int | None = None
    while True:
        follower = _Follower(plan, report, StallWatch(plan.workdir, stall_seconds))
        try:
            outcome = _follow(plan, follower)
        except PlatformFault as fault:
            parts = finer(plan.scale, plan.crew.size, plan.accumulation)
            if fault.problems[0].code != OUT_OF_MEMORY or parts is None:
                raise
            resumed_from = follower.resumed_from if resumed_from is None else resumed_from
            message = f"{fault.problems[0].message}: trying again, each rank's share of a batch in {parts} parts"
            logger.warning("%s", message)
            report.log(message + "\n")
            plan = plan.model_copy(update={"accumulation": parts})
        else:
            outcome.resumed_from = outcome.resumed_from if resumed_from is None else resumed_from
            return outcome


def _follow(plan: Plan, follower: _Follower) -> Outcome:
    with ThreadPoolExecutor(1, "store-checkpoint") as stores, _child(plan) as process:
        follower.stores = stores
        while process.poll() is None:
            follower.look()
            time.sleep(POLL_SECONDS)
        follower.look()
        late = time.monotonic() + LATE_SECONDS * (plan.crew.launcher != "local")
        while process.returncode == 0 and not follower.told and time.monotonic() < late:
            follower.look()
            time.sleep(POLL_SECONDS)
        follower.wait_for_stores()
        return follower.outcome(process.returncode)


@contextmanager
def _child(plan: Plan) -> Iterator[subprocess.Popen[bytes]]:
    (plan.workdir / EVENTS_FILE).unlink(missing_ok=True)
    StallWatch.clear(plan.workdir)
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
        _end(process, plan)
        Leash(plan.workdir).drop()


def _end(process: subprocess.Popen[bytes], plan: Plan) -> None:
    if process.poll() is None and plan.crew.launcher == "slurm":
        process.terminate()
        try:
            process.wait(CANCEL_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("the Slurm job could not be cancelled in time: it ends when it finds its leash gone")
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def child_environment(plan: Plan, environment: dict[str, str]) -> dict[str, str]:
    """The child's environment: no secrets of the worker, no downloads, and just the scale's threads."""
    kept = {name: value for name, value in environment.items() if not name.startswith("DATACOMP_")}
    for name in FOREIGN:
        kept.pop(name, None)
    kept |= {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
    return kept if plan.scale.threads is None else kept | cpu_environment(plan.scale.threads)


def cpu_environment(threads: int) -> dict[str, str]:
    """What is set where a scale trains on a CPU with a number of threads of its own."""
    return {
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)),
        **dict.fromkeys(("OMP_DYNAMIC", "MKL_DYNAMIC"), "FALSE"),
        # Two trainings may share the cores: threads that wait give way to those that work.
        "OMP_WAIT_POLICY": "PASSIVE",
        # Memory given back after every step has to be cleared by the kernel in the next: 30,000 page faults a step.
        **dict.fromkeys(("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"), str(1 << 32)),
    }


@dataclass
class _Follower:
    """Reads what the child appends to its log and its events, and passes it on."""

    plan: Plan
    report: Reporter
    stall: StallWatch
    stores: ThreadPoolExecutor | None = None
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))
    _storing: list[Future[None]] = field(default_factory=list)
    _failed: Failed | None = None
    _finished: Finished | None = None
    resumed_from: int = 0

    def __post_init__(self) -> None:
        self._leash = Leash(self.plan.workdir)
        self._log = _Lines(self.plan.workdir / LOG_FILE)
        self._events = _Lines(self.plan.workdir / EVENTS_FILE)

    def look(self) -> None:
        """Pass on what is new. Raises `Cancelled` when the run is no longer ours, a fault when it stands still."""
        self.report.check()
        self._leash.move()
        self.stall.check()
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
                self.resumed_from = started.epoch
                self.report.progress(self._progress(started.epoch * samples_seen(self.plan.scale) / self._epochs))
            case Step() as step:
                values = {"loss": step.loss, "learning_rate": step.learning_rate, "data_wait": step.data_wait}
                self.report.progress(self._progress(step.samples, step.samples_per_second, values))
            case Checkpoint() as checkpoint if checkpoint.epoch < self._epochs:
                # In a thread of its own: a large file must not keep us from noticing that the run is cancelled.
                if self.stores is not None:
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

    @property
    def told(self) -> bool:
        """Whether the child has said how it ended."""
        return self._finished is not None or self._failed is not None

    def outcome(self, status: int) -> Outcome:
        """What came of it, by exit status and events."""
        if self._failed is not None:
            raise (PlatformFault if self._failed.ours else BadInput)(self._failed.problem)
        if status == 0 and self._finished is not None:
            return Outcome(self._finished, self.resumed_from, self.plan.accumulation)
        raise self._unexplained(status)

    def _unexplained(self, status: int) -> DatacompError:
        last = next((line.strip() for line in reversed(self.tail) if line.strip()), "it left no log")
        if status in KILLED:
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
