"""The worker's story, top to bottom: claim a run, gather its inputs, carry out its stage, hand over what it made.

Which runs a submission consists of, and which follows which, is the server's to say (the database is the truth). A
worker is handed one run at a time and knows just the stage function for it.
"""

from __future__ import annotations

import errno
import logging
import shutil
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from datacomp.http import Refused
from datacomp.messages import Blame, Failure, FileRef, Job, Stage
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_worker.api import WorkerApi
from datacomp_worker.devices import accelerator
from datacomp_worker.environment import environment
from datacomp_worker.reporting import FENCED, HeartbeatReporter
from datacomp_worker.settings import WorkerSettings
from datacomp_worker.stages.base import Cancelled, StageContext, StageFunction, StageOutput

logger = logging.getLogger(__name__)

STAGES = {stage: f"datacomp_worker.stages.{stage.value}" for stage in Stage}
"""Modules by stage, imported when first needed: validating uids should not wait for torch."""
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
LOG_TAIL = 8000
"""Characters of a log that go with a failure."""


_job: ContextVar[Job | None] = ContextVar("job", default=None)


def run_context() -> dict[str, str]:
    """What the log lines of this worker belong to now."""
    job = _job.get()
    return {"submission": job.submission, "run": job.run, "attempt": job.attempt} if job else {}


def stage_function(stage: Stage) -> StageFunction:
    """The `run` function of a stage."""
    function: StageFunction = import_module(STAGES[stage]).run
    return function


@dataclass(frozen=True)
class Worker:
    """One worker process: its connection, its settings, its queues."""

    api: WorkerApi
    settings: WorkerSettings
    queues: tuple[str, ...]
    busy: Callable[[str | None], None] = lambda run: None
    """Told the run in progress, for the hello thread."""
    no_code: str = ""
    """Why this worker is to be handed no participants' code; empty where its sandbox holds."""

    def serve(self) -> int:
        """Claim and carry out runs until the server has none left for these queues; returns how many there were."""
        count = 0
        while job := self.api.claim(self.settings.worker_name, list(self.queues), self.no_code):
            self.busy(job.run)
            try:
                self.carry_out(job)
            finally:
                self.busy(None)
            count += 1
        return count

    def carry_out(self, job: Job) -> None:
        """One attempt, from claim to finish or failure. Raises nothing that a next job could not survive."""
        token = _job.set(job)
        logger.info("%s of submission %s: attempt %d of run %s", job.stage, job.submission, job.number, job.run)
        workspace = self.settings.scratch / "attempts" / job.attempt
        reporter = HeartbeatReporter(self.api, job)
        reporter.start()
        try:
            workspace.mkdir(parents=True, exist_ok=True)
            output = stage_function(job.stage)(self._gather(job, workspace, reporter))
            self._hand_over(job, output, reporter)
        except Cancelled:
            reporter.stop()
            logger.info("run %s is no longer ours: left", job.run)
        except Exception as error:  # whatever a stage raises becomes a typed failure of this run
            self._fail(job, error, reporter)
        finally:
            shutil.rmtree(workspace, ignore_errors=True)
            _job.reset(token)

    def _gather(self, job: Job, workspace: Path, reporter: HeartbeatReporter) -> StageContext:
        """Everything the stage may read, downloaded and digest-checked."""
        inputs = workspace / "inputs"
        inputs.mkdir()
        gathered: dict[str, Path] = {}
        wanted = [("upload", job.upload), *((file.name, file) for file in job.inputs)]
        for name, file in wanted:
            reporter.check()
            gathered[name] = inputs / (f"upload{Path(file.name).suffix}" if name == "upload" else name)
            self.api.fetch(job, file, gathered[name], name=name)
        resume = self._fetch_resume(job, inputs)
        device, gpus = accelerator()
        output = workspace / "output"
        output.mkdir()
        return StageContext(
            job=job,
            workspace=output,
            scratch=self.settings.scratch,
            pool_dir=self.settings.pool(job.board.pool),
            suite_dir=self.settings.suite(job.board.suite),
            inputs=gathered,
            resume=resume,
            report=reporter,
            device=device,
            gpus=gpus,
        )

    def _fetch_resume(self, job: Job, inputs: Path) -> Path | None:
        if job.resume is None:
            return None
        path = inputs / job.resume.name
        self.api.fetch(job, job.resume, path)
        return path

    def _hand_over(self, job: Job, output: StageOutput, reporter: HeartbeatReporter) -> None:
        """Store the outputs, then report the run done: only then are they promoted."""
        for name, path in output.files.items():
            reporter.store(name, path)
        outputs: list[FileRef] = [reporter.stored[name] for name in output.files]
        log = reporter.rest()
        reporter.check()
        try:
            made_by = dict(output.environment) or environment()
            self.api.finish(job, output.result, outputs, environment=made_by, log=log, usage=reporter.usage())
        except Refused as error:
            if error.status not in FENCED:
                raise
            logger.info("run %s was handed on before we finished: our result is dropped", job.run)
        reporter.stop()

    def _fail(self, job: Job, error: Exception, reporter: HeartbeatReporter) -> None:
        failure = describe_failure(error)
        log = reporter.stop()
        if reporter.lost:
            return
        logger.warning("run %s failed: %s", job.run, failure.problems[0])
        try:
            self.api.fail(job, failure, log, reporter.usage())
        except DatacompError as refusal:
            # The lease will run out and the run is handed to somebody else: nothing is lost.
            logger.warning("could not report the failure of %s: %s", job.run, refusal)


def describe_failure(error: Exception) -> Failure:
    """The typed failure of an exception: bad input is the participant's, everything else ours."""
    if isinstance(error, BadInput) and not isinstance(error, Refused):
        return Failure(blame=Blame.PARTICIPANT, problems=list(error.problems), log_tail=error.log_tail[-LOG_TAIL:])
    if isinstance(error, DatacompError):
        return Failure(blame=Blame.PLATFORM, problems=list(error.problems), log_tail=error.log_tail[-LOG_TAIL:])
    return Failure(blame=Blame.PLATFORM, problems=[_unforeseen(error)], log_tail=_trace(error))


def _unforeseen(error: Exception) -> Problem:
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        code, hint = "worker-disk-full", "free space where DATACOMP_SCRATCH_DIR is; the run is tried again"
    elif isinstance(error, OSError):
        code, hint = "worker-io", "see to the worker's disk and permissions; the run is tried again"
    elif isinstance(error, MemoryError):
        code, hint = "out-of-memory", "give the worker more memory; the run is tried again"
    else:
        code, hint = "stage-crashed", "this is a fault of the platform; the run is tried again"
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(frame.filename).name}:{frame.lineno}"
    return Problem(code=code, message=f"{type(error).__name__}: {error}", where=where, hint=hint)


def _trace(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-LOG_TAIL:]
