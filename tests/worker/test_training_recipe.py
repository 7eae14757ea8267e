"""A scale becomes the trainer's arguments, one by one as DataComp's train.py gives them; read back by the trainer."""

from dataclasses import replace
from pathlib import Path

import pytest
from open_clip_train.params import parse_args

from datacomp.problems import PlatformFault
from datacomp.scales import SCALES, rehearsal_of
from datacomp_worker.training.recipe import (
    finer,
    log_every,
    recipe_arguments,
    recipe_digest,
    samples_seen,
    steps_per_epoch,
    trainer_arguments,
)

# model, samples an epoch, batch on 8 GPUs, lr, warm-up, beta2 after the trainer's default
ORIGINAL = {
    "small": ("ViT-B-32", 2_560_000, 512, 5e-4, 500, 0.98),
    "medium": ("ViT-B-32", 25_600_000, 512, 5e-4, 500, 0.98),
    "large": ("ViT-B-16", 256_000_000, 1024, 5e-4, 500, 0.98),
    "xlarge": ("ViT-L-14", 2_560_000_000, 11264, 1e-3, 10000, 0.95),
}


def parsed(name: str, *, seed: int = 3, world_size: int = 8, device: str = "cuda"):
    scale = SCALES[name]
    arguments = trainer_arguments(
        scale, seed, shards="/s/{00000000..00000003}.tar", logs=Path("/logs"), device=device, world_size=world_size
    )
    return parse_args(arguments)


@pytest.mark.parametrize("name", ORIGINAL)
def test_the_trainer_reads_the_originals_recipe(name: str) -> None:
    args = parsed(name)
    model, samples, batch, lr, warmup, beta2 = ORIGINAL[name]
    assert (args.model, args.train_num_samples, args.batch_size) == (model, samples, batch)
    assert (args.lr, args.warmup, args.beta1, args.beta2) == (lr, warmup, 0.9, beta2)
    assert (args.epochs, args.accum_freq, args.workers, args.precision) == (5, 1, 4, "amp")
    assert (args.dataset_type, args.dataset_resampled) == ("webdataset", True)
    assert args.ddp_static_graph
    assert args.local_loss
    assert args.gather_with_grad
    assert args.grad_checkpointing
    assert (args.save_frequency, args.save_most_recent, args.resume) == (0, True, "latest")
    assert (args.seed, args.device) == (3, "cuda")
    assert args.train_data == "/s/{00000000..00000003}.tar"
    assert (args.logs, args.name) == ("/logs", "run")
    assert args.log_every_n_steps == 100


def named(arguments: list[str]) -> dict[str, str | None]:
    """Arguments by name; a flag's value is None."""
    found: dict[str, str | None] = {}
    for argument in arguments:
        if argument.startswith("--"):
            name = argument
            found[name] = None
        else:
            found[name] = argument
    return found


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("name", ORIGINAL)
def test_the_arguments_are_the_originals_one_by_one(name: str, accumulation: int) -> None:
    model, samples, batch, lr, warmup, _ = ORIGINAL[name]
    original = {
        "--save-frequency": "0",
        "--ddp-static-graph": None,
        "--local-loss": None,
        "--gather-with-grad": None,
        "--grad-checkpointing": None,
        "--train-data": "/s/{00000000..00000003}.tar",
        "--train-num-samples": str(samples),
        "--warmup": str(warmup),
        "--dataset-type": "webdataset",
        "--precision": "amp",
        "--workers": "4",
        "--model": model,
        "--batch-size": str(batch // accumulation),
        "--epochs": "5",
        "--lr": str(lr),
        "--logs": "/logs",
        "--name": "run",
        "--seed": "0",
        "--accum-freq": str(accumulation),
        "--log-every-n-steps": "100",
        "--save-most-recent": None,
        "--resume": "latest",
        "--dataset-resampled": None,
        **({"--beta2": "0.95"} if name == "xlarge" else {}),
    }
    how = {"shards": original["--train-data"], "logs": Path("/logs"), "device": "cuda", "world_size": 8}
    ours = named(trainer_arguments(SCALES[name], 0, **how, accumulation=accumulation))
    # The trainer's default device, and its default beta2 for vision transformers, are named.
    assert ours.pop("--device") == "cuda"
    if name in {"medium", "large"}:
        assert ours.pop("--beta2") == "0.98"
    if (
        name == "xlarge" and accumulation > 1
    ):  # its epoch is no whole number of batches: what the trainer would drop is kept
        assert ours.pop("--train-num-samples") == str(-(-samples // 90_112) * 90_112)
        del original["--train-num-samples"]
    assert ours == original


@pytest.mark.parametrize("name", ORIGINAL)
def test_everything_else_stays_at_the_trainers_defaults(name: str) -> None:
    args, defaults = vars(parsed(name)), vars(parse_args(["--model", SCALES[name].model]))
    named = {
        *("model", "train_num_samples", "batch_size", "lr", "warmup", "beta2", "epochs", "dataset_type", "precision"),
        *("dataset_resampled", "ddp_static_graph", "local_loss", "gather_with_grad", "grad_checkpointing"),
        *("save_frequency", "save_most_recent", "resume", "seed", "train_data", "logs", "name"),
    }
    different = {key for key, value in args.items() if value != defaults[key]}
    assert different <= named
    assert args["wd"] == 0.2


def test_beta2_is_given_only_where_the_scale_has_one() -> None:
    given = {name: "--beta2" in recipe_arguments(scale) for name, scale in SCALES.items()}
    assert given == {"tiny": False, "small": False, "medium": True, "large": True, "xlarge": True}


def test_tiny_runs_in_fp32_in_one_process_without_gradient_checkpointing() -> None:
    args = parsed("tiny", world_size=1, device="cpu")
    assert (args.model, args.precision, args.workers, args.device) == ("tiny-ViT-8-32", "fp32", 0, "cpu")
    assert (args.batch_size, args.train_num_samples, args.epochs) == (256, 4096, 5)
    assert not args.grad_checkpointing
    assert (steps_per_epoch(SCALES["tiny"]), samples_seen(SCALES["tiny"])) == (16, 20_480)


def test_a_rehearsal_is_the_same_model_and_flags_in_four_small_steps() -> None:
    medium = SCALES["medium"]
    args = parse_args(recipe_arguments(rehearsal_of(medium)))
    assert (args.model, args.batch_size, args.epochs, args.precision) == ("ViT-B-32", 8, 1, "fp32")
    assert samples_seen(rehearsal_of(medium)) == 32
    assert args.grad_checkpointing
    assert (args.lr, args.beta2) == (5e-4, 0.98)


def test_a_batch_that_the_gpus_cannot_share_is_refused() -> None:
    with pytest.raises(PlatformFault, match="4,096 cannot be shared by 3 GPUs"):
        recipe_arguments(SCALES["medium"], 3)


def test_memory_is_met_with_parts_that_divide_a_share_of_the_batch() -> None:
    assert [finer(SCALES["medium"], 8, parts) for parts in (1, 2, 256, 512)] == [2, 4, 512, None]
    assert finer(SCALES["xlarge"], 8, 4) == 8
    assert finer(replace(SCALES["tiny"], batch_size=18), 2, 1) == 3
    with pytest.raises(PlatformFault, match="by 8 GPUs in 3 parts each"):
        recipe_arguments(SCALES["medium"], 8, 3)
    assert parse_args(recipe_arguments(SCALES["medium"], 8, 4)).batch_size == 128


def test_the_whole_batches_of_all_epochs_are_seen() -> None:
    scale = replace(SCALES["tiny"], samples_seen=1000, batch_size=64, checkpoints=5)
    assert (steps_per_epoch(scale), samples_seen(scale)) == (4, 4 * 64 * 5)
    assert log_every(scale) == 1
    assert samples_seen(SCALES["medium"]) == 128_000_000


def test_the_recipes_digest_covers_what_is_learnt_and_nothing_else() -> None:
    tiny = SCALES["tiny"]
    digest = recipe_digest(tiny)
    for change in ({"learning_rate": 2e-3}, {"warmup": 11}, {"batch_size": 128}, {"beta2": 0.9}, {"precision": "amp"}):
        assert recipe_digest(replace(tiny, **change)) != digest, change
    assert recipe_digest(replace(tiny, loader_workers=4)) == digest
