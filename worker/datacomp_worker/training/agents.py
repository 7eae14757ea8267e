"""torchrun's agent on one host: it starts the host's ranks, each of which runs the training child again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datacomp.lifeline import PARENT
from datacomp_worker.training.events import Plan

RANK_PROGRAM = "datacomp_worker.training.child"
CALLS = "training-calls"
"""Folder in the shared scratch directory: one file for every training that wants further hosts."""
JOIN_SECONDS = 600
"""How long hosts wait for each other."""
FOREIGN = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NTASKS")
"""Variables by which the trainer would take itself for a rank of somebody else's making."""


def run_ranks(plan: Plan, plan_file: str, *, rendezvous: str, head: bool) -> int:
    """Run this host's ranks to their end; returns an exit status, 128 + signal for a rank that was killed."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    for name in FOREIGN:
        os.environ.pop(name, None)
    os.environ[PARENT] = str(os.getpid())  # ranks end with this agent
    layout = [f"--nproc-per-node={plan.crew.processes}", "--max-restarts=0"]
    try:
        torchrun([*_meeting(plan, rendezvous, head=head), *layout, "-m", RANK_PROGRAM, plan_file])
    except ChildFailedError as error:
        status = error.get_first_failure()[1].exitcode
        return 128 - status if status < 0 else status
    return 0


def _meeting(plan: Plan, rendezvous: str, *, head: bool) -> list[str]:
    if plan.crew.hosts == 1:
        return ["--standalone"]
    return [
        f"--nnodes={plan.crew.hosts}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={rendezvous}",
        f"--rdzv-id={plan.identity}",
        f"--rdzv-conf=is_host={int(head)},join_timeout={JOIN_SECONDS}",
        *((f"--local-addr={rendezvous.rpartition(':')[0]}",) if head else ()),
    ]


@contextmanager
def calling(plan: Plan, plan_file: Path) -> Iterator[None]:
    """While it lasts, hosts that run `datacomp train-host` find this training."""
    if plan.crew.launcher != "hosts" or plan.calls is None:
        yield
        return
    plan.calls.mkdir(parents=True, exist_ok=True)
    call = plan.calls / f"{uuid.uuid4().hex}.call"
    new = call.with_suffix(".new")
    new.write_text(str(plan_file))
    new.replace(call)
    try:
        yield
    finally:
        call.unlink(missing_ok=True)
