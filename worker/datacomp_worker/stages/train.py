"""train: the scale's frozen recipe on the subset, one seed, in a child process that can be taken over from."""

from __future__ import annotations

import re
import time

from datacomp.messages import CHECKPOINT_FILE, SUBSET_FILE, Stage, SubsetResult, TrainResult
from datacomp.problems import PlatformFault
from datacomp.scales import get_scale, rehearsal_of
from datacomp.uids import read_subset
from datacomp_worker.settings import TrainSettings
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.subset import shards_of
from datacomp_worker.subsets import Selection
from datacomp_worker.tracks import clip
from datacomp_worker.training.agents import CALLS
from datacomp_worker.training.crew import Crew


def run(context: StageContext) -> StageOutput:
    """Train and leave the final weights as `checkpoint.pt`."""
    scale = get_scale(context.job.board.scale)
    if context.job.rehearsal:
        scale = rehearsal_of(scale)
    with shards_of(context, read_subset(context.input(SUBSET_FILE))) as (selection, shards):
        _require_same(context, selection)
        settings = TrainSettings()
        device = context.device if context.job.rehearsal else settings.device or context.device
        crew = Crew() if context.job.rehearsal else crew_of(settings, device, context.gpus)
        start = time.monotonic()
        trained = clip.train(
            selection,
            scale,
            context.job.seed,
            shards=shards,
            workdir=context.workspace / "training",
            report=context.report,
            device=device,
            crew=crew,
            accumulation=1 if context.job.rehearsal else settings.accumulation,
            stall_seconds=settings.stall_seconds,
            calls=context.scratch / CALLS,
            resume=context.resume,
        )
        seconds = time.monotonic() - start
    share = 1 - trained.resumed_from / scale.checkpoints
    result = TrainResult(
        samples_seen=trained.samples_seen,
        seconds=seconds,
        samples_per_second=trained.samples_seen * share / seconds,
        final_loss=trained.loss_curve[-1][1],
        device=device,
        processes=crew.size,
        accumulation=trained.accumulation,
        threads=scale.threads,
        precision=scale.precision,
        resumed_from=trained.resumed_from,
        scale_digest=scale.digest,
        recipe_digest=trained.recipe_digest,
        subset_digest=selection.digest,
        weights_digest=trained.weights_digest,
        loss_curve=list(trained.loss_curve),
    )
    return StageOutput(result, {CHECKPOINT_FILE: trained.checkpoint}, trained.environment)


def crew_of(settings: TrainSettings, device: str, gpus: int) -> Crew:
    """The processes that train here; a rehearsal always is one. `PlatformFault` where settings do not go together."""
    if settings.launcher == "local" and settings.hosts > 1:
        hint = "set DATACOMP_TRAIN_LAUNCHER to hosts or slurm"
        raise PlatformFault.of("train-settings", f"{settings.hosts} hosts cannot be launched locally", hint=hint)
    if settings.launcher == "hosts" and not re.fullmatch(r"[^:\s]+:\d+", settings.rendezvous):
        hint = "set DATACOMP_TRAIN_RENDEZVOUS to this host's name and a free port, as in trainer1:29400"
        raise PlatformFault.of("train-settings", "other hosts do not know where to meet this one", hint=hint)
    return Crew(
        launcher=settings.launcher,
        hosts=settings.hosts,
        processes=settings.processes or (max(gpus, 1) if device == "cuda" else 1),
        rendezvous=settings.rendezvous,
        cluster=settings.slurm_cluster,
        options=dict(settings.slurm),
    )


def _require_same(context: StageContext, selection: Selection) -> None:
    """What is trained on must be what the stage subset settled, where that stage saw the images."""
    settled = SubsetResult.model_validate(context.job.facts[Stage.SUBSET])
    if settled.shards and settled.subset_digest != selection.digest:
        message = f"{selection.unavailable:,} samples that have an image elsewhere on this site have none on this host"
        hint = "bring this host's pool up to date and ingest it again"
        raise PlatformFault.of("subset-differs-here", message, str(context.pool_dir), hint)
