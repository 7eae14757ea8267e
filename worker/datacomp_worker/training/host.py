"""A further host of trainings: waits for calls in the shared scratch directory and runs its share of the ranks.

`python -m datacomp_worker.training.host PLAN` is one share; `serve` starts one for every call.
"""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from datacomp.lifeline import die_with_parent
from datacomp_worker.training.agents import CALLS, run_ranks
from datacomp_worker.training.events import Plan
from datacomp_worker.training.pulse import BEAT_SECONDS, LEASH, Unchanged, end_with_leash, held

logger = logging.getLogger(__name__)
PROGRAM = "datacomp_worker.training.host"


def serve(scratch: Path, *, shares: int | None = None) -> int:
    """Join trainings for ever, or until `shares` have ended; returns how many there were.

    A call is taken up once its worker is seen alive. One that ended here, well or not, is not taken up again.
    """
    seen: set[Path] = set()
    count = 0
    while shares is None or count < shares:
        call = next((call for call in sorted((scratch / CALLS).glob("*.call")) if call not in seen), None)
        if call is None:
            time.sleep(BEAT_SECONDS)
            continue
        seen.add(call)
        count += _take_up(call)
    return count


def _take_up(call: Path) -> bool:
    try:
        plan_file = Path(call.read_text())
        plan = Plan.model_validate_json(plan_file.read_text())
    except (OSError, ValueError) as error:  # it ended meanwhile, or what stands there is not ours
        logger.warning("call %s left: %s", call.name, error)
        return False
    if not _alive(plan.workdir):
        logger.warning("call %s left: nobody holds its leash", call.name)
        return False
    logger.info("joining the training in %s", plan.workdir)
    with (plan.workdir / f"host-{socket.gethostname()}-{os.getpid()}.log").open("ab") as log:
        command = [sys.executable, "-m", PROGRAM, str(plan_file)]
        status = subprocess.run(
            command, check=False, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=_environment(plan)
        ).returncode
    logger.info("the training in %s ended here with status %d", plan.workdir, status)
    return True


def _alive(workdir: Path) -> bool:
    """Whether the leash moves."""
    leash = Unchanged(workdir / LEASH)
    if not held(leash):
        return False
    before = leash.content
    while held(leash):
        if leash.content != before:
            return True
        time.sleep(BEAT_SECONDS / 2)
    return False


def _environment(plan: Plan) -> dict[str, str]:
    from datacomp_worker.training.supervise import child_environment

    return child_environment(plan, dict(os.environ))


def join(plan_file: str) -> int:
    """This host's share of a training; returns its exit status."""
    die_with_parent()
    plan = Plan.model_validate_json(Path(plan_file).read_text())
    end_with_leash(plan.workdir)
    return run_ranks(plan, plan_file, rendezvous=plan.crew.rendezvous, head=False)


if __name__ == "__main__":
    sys.exit(join(sys.argv[1]))
