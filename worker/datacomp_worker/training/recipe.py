"""The one place where a scale becomes the trainer's arguments.

They are those of DataComp's `train.py`: distributed flags, webdataset with sampling with replacement, checkpoints as
"epochs" of samples_seen / checkpoints, everything unnamed at the trainer's defaults.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from datacomp.digests import digest_json
from datacomp.problems import PlatformFault
from datacomp.scales import Scale
from datacomp_worker.training.draws import FEED_VERSION

RUN_NAME = "run"
LOGGED_PER_EPOCH = 16
"""Log lines per epoch where the trainer's usual 100 steps are longer than an epoch."""


def recipe_arguments(scale: Scale, world_size: int = 1, accumulation: int = 1) -> list[str]:
    """The arguments that decide what is learnt. The batch is the scale's, shared among `world_size` processes.

    Each works its share off in `accumulation` parts. `PlatformFault` when the batch cannot be shared evenly.
    """
    if scale.batch_size % (world_size * accumulation):
        parts = f"{world_size} GPUs" if accumulation == 1 else f"{world_size} GPUs in {accumulation} parts each"
        message = f"a batch of {scale.batch_size:,} cannot be shared by {parts}"
        hint = "set CUDA_VISIBLE_DEVICES or DATACOMP_TRAIN_PROCESSES to a number of GPUs that divides the batch"
        raise PlatformFault.of("batch-not-divisible", message, where=scale.name, hint=hint)
    samples = scale.samples_seen // scale.checkpoints
    if accumulation > 1:  # the trainer rounds up to parts of a batch, and then drops the parts that fill none
        samples = steps_per_epoch(scale) * scale.batch_size
    return [
        *("--model", scale.model),
        *("--precision", scale.precision),
        *("--batch-size", str(scale.batch_size // (world_size * accumulation))),
        *("--accum-freq", str(accumulation)),
        *("--epochs", str(scale.checkpoints)),
        *("--train-num-samples", str(samples)),
        *("--lr", repr(scale.learning_rate)),
        *("--warmup", str(scale.warmup)),
        *(() if scale.beta2 is None else ("--beta2", repr(scale.beta2))),
        *("--dataset-type", "webdataset"),
        "--dataset-resampled",
        "--ddp-static-graph",
        "--local-loss",
        "--gather-with-grad",
        *(("--grad-checkpointing",) if scale.grad_checkpointing else ()),
    ]


def trainer_arguments(
    scale: Scale, seed: int, *, shards: str, logs: Path, device: str, world_size: int, accumulation: int = 1
) -> list[str]:
    """The whole argument list of `open_clip_train`; `shards` is the tars' address in brace notation."""
    return [
        *recipe_arguments(scale, world_size, accumulation),
        *("--seed", str(seed)),
        *("--workers", str(scale.loader_workers)),
        *("--save-frequency", "0"),
        "--save-most-recent",
        *("--resume", "latest"),
        *("--train-data", shards),
        *("--logs", str(logs)),
        *("--name", RUN_NAME),
        *("--device", device),
        *("--log-every-n-steps", str(log_every(scale))),
    ]


def steps_per_epoch(scale: Scale) -> int:
    """Optimiser steps between two checkpoints: the epoch's samples in whole batches, rounded up as the trainer does."""
    return -(-(scale.samples_seen // scale.checkpoints) // scale.batch_size)


def finer(scale: Scale, world_size: int, accumulation: int) -> int | None:
    """The next accumulation to try when memory is short: at least twice as many parts; None when there is none."""
    share = scale.batch_size // world_size
    return next((parts for parts in range(2 * accumulation, share + 1) if share % parts == 0), None)


def samples_seen(scale: Scale) -> int:
    """Samples in all whole batches."""
    return steps_per_epoch(scale) * scale.batch_size * scale.checkpoints


def log_every(scale: Scale) -> int:
    """Steps between two log lines: 100, or fewer where an epoch is shorter. Has no part in what is learnt."""
    steps = steps_per_epoch(scale)
    return 100 if steps > 100 else max(1, steps // LOGGED_PER_EPOCH)


def recipe_digest(scale: Scale) -> str:
    """Digest of trainer, feed and the arguments that decide what is learnt; the seed stands beside it."""
    trainer = f"open_clip_train {version('open_clip_torch')}"
    return digest_json({"trainer": trainer, "feed": FEED_VERSION, "arguments": recipe_arguments(scale)})
