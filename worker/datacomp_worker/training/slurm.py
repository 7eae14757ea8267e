"""Training as a Slurm job, submitted and followed through submitit.

The job's tasks, one a host, are torchrun's agents. They end with the worker's leash, whatever becomes of `scancel`.
"""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from datacomp.problems import PlatformFault
from datacomp_worker.training.agents import run_ranks
from datacomp_worker.training.events import Plan
from datacomp_worker.training.pulse import end_with_leash

POLL_SECONDS = 0.5
DEFAULTS: dict[str, Any] = {"timeout_min": 7 * 24 * 60}
"""Where `DATACOMP_TRAIN_SLURM` says nothing else. submitit's own limit of time is five minutes."""
ENDED_WELL = frozenset({"COMPLETED", "FINISHED"})
OUT_OF_MEMORY = "OUT_OF_MEMORY"


class _Orders:
    """Whether the worker wants the job to end. Noted, not raised: a signal that comes while the job is being submitted
    must not lose the job that is to be cancelled."""

    def __init__(self) -> None:
        self.end = False
        signal.signal(signal.SIGTERM, self._told)

    def _told(self, number: int, frame: FrameType | None) -> None:
        self.end = True


def submit_and_wait(plan: Plan, plan_file: str) -> int:
    """Submit the job, pass its log on to standard output, cancel it on SIGTERM; returns an exit status."""
    orders = _Orders()
    job = _submit(plan, plan_file)
    log, at = Path(job.paths.stdout), 0
    try:
        _say(f"submitted as job {job.job_id} ({plan.crew.cluster})")
        while not orders.end and not job.done():
            at = _pass_on(log, at)
            time.sleep(POLL_SECONDS)
        if orders.end:
            job.cancel(check=False)
            return 128 + signal.SIGTERM
    except BaseException:
        job.cancel(check=False)
        raise
    _pass_on(log, at)
    if job.state in ENDED_WELL:
        return 0
    _say(f"job {job.job_id} ended as {job.state}")
    return 128 + signal.SIGKILL if job.state == OUT_OF_MEMORY else 1


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _submit(plan: Plan, plan_file: str) -> Any:
    try:
        import submitit
    except ImportError as error:
        hint = "install the extra: pip install 'datacomp[slurm]'"
        raise PlatformFault.of("slurm-missing", "submitit is not installed on this worker", hint=hint) from error
    crew = plan.crew
    try:
        executor = submitit.AutoExecutor(folder=plan.workdir / "slurm", cluster=crew.cluster)
        gpus = {"gpus_per_node": crew.processes} if plan.device == "cuda" else {}
        layout = {"name": "datacomp-train", "nodes": crew.hosts, "tasks_per_node": 1, "stderr_to_stdout": True}
        executor.update_parameters(**DEFAULTS | layout | gpus | crew.options)
        return executor.submit(work, plan_file)
    except (RuntimeError, ValueError, NameError, submitit.core.utils.FailedJobError) as error:
        hint = "see DATACOMP_TRAIN_SLURM, and whether this host may submit jobs"
        raise PlatformFault.of("slurm-refused", f"the job was not submitted: {error}", hint=hint) from error


def work(plan_file: str) -> None:
    """What every task of the job does."""
    import submitit

    plan = Plan.model_validate_json(Path(plan_file).read_text())
    end_with_leash(plan.workdir)
    here = submitit.JobEnvironment()
    rendezvous = f"{here.hostnames[0]}:{_port(here.job_id)}"
    sys.exit(run_ranks(plan, plan_file, rendezvous=rendezvous, head=here.node == 0))


def _port(job: str) -> int:
    """A port that jobs on the same hosts do not share."""
    return 20_000 + int("".join(filter(str.isdigit, job)) or 0) % 20_000


def _pass_on(log: Path, at: int) -> int:
    """Copy what a log has got since `at`; returns where it ends now."""
    try:
        with log.open("rb") as file:
            file.seek(at)
            new = file.read()
    except FileNotFoundError:  # the job has not begun
        return at
    sys.stdout.buffer.write(new)
    sys.stdout.buffer.flush()
    return at + len(new)
