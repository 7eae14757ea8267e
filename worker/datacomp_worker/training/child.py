"""The training child: `python -m datacomp_worker.training.child PLAN`.

Runs `open_clip_train` as it is, but for three things: data come from our seeded feed, the trainer's figures go to the
worker as events, and the process dies with its worker. With several processes it becomes torchrun's agent, or submits
a Slurm job whose tasks do, and each rank runs this module again.
"""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from types import ModuleType

from datacomp.lifeline import PARENT, die_with_parent
from datacomp.problems import BadInput, DatacompError, Problem
from datacomp_worker.training.agents import calling, run_ranks
from datacomp_worker.training.events import OUT_OF_MEMORY, Failed, Plan, Started, emit
from datacomp_worker.training.pulse import Pulse

UNUSED = ("wandb", "timm")
"""What `open_clip` and its trainer look for and no scale needs: a quarter of the time that their imports take."""
EXIT_TOLD = 3
"""Exit status after a failure that was told as an event."""
NO_MEMORY = ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""How PyTorch's libraries say so where they raise a plain RuntimeError."""


def main(plan_file: str) -> int:
    """Train; returns the exit status."""
    plan = Plan.model_validate_json(Path(plan_file).read_text())
    try:
        if "LOCAL_RANK" in os.environ:
            die_with_parent(parent=int(os.environ[PARENT]))
            train(plan)
            return 0
        die_with_parent(parent=plan.parent)
        return lead(plan, plan_file)
    except Exception as error:
        told = explain(error)
        if told is None:
            raise
        logging.exception("training ends")
        emit(plan.workdir, told)
        return EXIT_TOLD


def lead(plan: Plan, plan_file: str) -> int:
    """Train with the plan's crew; returns an exit status."""
    if plan.crew.launcher == "slurm":
        from datacomp_worker.training.slurm import submit_and_wait

        return submit_and_wait(plan, plan_file)
    if plan.crew.size == 1:
        train(plan)
        return 0
    with calling(plan, Path(plan_file)):
        return run_ranks(plan, plan_file, rendezvous=plan.crew.rendezvous, head=True)


def train(plan: Plan) -> None:
    """One rank: run the trainer to its end and, on the first, write the final weights."""
    rank = int(os.environ.get("RANK", "0"))
    pulse = Pulse(plan.workdir, rank)
    pulse.mark("start")
    sys.modules |= dict.fromkeys(UNUSED)  # type: ignore[arg-type]
    import torch

    from datacomp_worker.environment import environment
    from datacomp_worker.subsets import open_shards
    from datacomp_worker.training import feed, weights
    from datacomp_worker.training.arithmetic import prepare_device
    from datacomp_worker.training.models import register_models
    from datacomp_worker.training.recipe import trainer_arguments
    from datacomp_worker.training.watch import Watch

    if plan.scale.threads is not None:
        torch.set_num_threads(plan.scale.threads)
    shards = open_shards(plan.shards)
    # The trainer's own data module is never imported: it is what the feed takes the place of.
    data = ModuleType("open_clip_train.data")
    data.get_data = partial(feed.get_data, shards)  # type: ignore[attr-defined]
    sys.modules["open_clip_train.data"] = data
    from open_clip_train import main as trainer

    register_models()
    prepare_device(plan, trainer)
    leader = rank == 0
    if leader:
        emit(plan.workdir, Started(epoch=weights.place_resume(plan)))
    watch = Watch(plan, trainer.train_one_epoch, pulse, leader=leader)
    trainer.train_one_epoch = watch.epoch
    pattern = f"{plan.shards}/{{{0:08d}..{shards.shards - 1:08d}}}.tar"
    arguments = trainer_arguments(
        plan.scale,
        plan.seed,
        shards=pattern,
        logs=plan.workdir,
        device=plan.device,
        world_size=plan.crew.size,
        accumulation=plan.accumulation,
    )
    if trainer.main(arguments) == -1:
        raise RuntimeError("the trainer refused its arguments; see the log")
    if leader:
        there = environment() if plan.crew.launcher == "slurm" else {}
        emit(plan.workdir, weights.finish(plan).model_copy(update={"environment": there}))
    logging.disable(logging.INFO)  # the trainer lets every library's figures into the log, at exit too


def explain(error: Exception) -> Failed | None:
    """The event of an error that has a known meaning; None for one that has not."""
    import torch

    from datacomp_worker.training.watch import Diverged

    if isinstance(error, Diverged):
        hint = "look at the subset: very few samples, or captions that are all alike, make training unstable"
        problem = Problem(code="training-diverged", message=str(error), hint=hint)
        return Failed(ours=False, problem=problem)
    if isinstance(error, DatacompError):
        return Failed(ours=not isinstance(error, BadInput), problem=error.problems[0])
    text = str(error).partition("\n")[0]
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or any(told in str(error) for told in NO_MEMORY):
        hint = "train on more GPUs, or on ones with more memory; nothing else may use them meanwhile"
        return Failed(ours=True, problem=Problem(code=OUT_OF_MEMORY, message=text, hint=hint))
    if isinstance(error, OSError):
        hint = "see to the worker's disk; the run is tried again"
        return Failed(ours=True, problem=Problem(code="training-io", message=str(error), hint=hint))
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
