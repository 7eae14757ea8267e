"""The commands of the worker extra: `worker`, `train-host`, `reproduce` and `pool generate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from datacomp.console import console, steps
from datacomp_worker.reproduction.command import reproduce

commands = typer.Typer()
commands.command()(reproduce)
pool_commands = typer.Typer()
"""Added by the main command to its `pool` group."""


@commands.command()
def worker(
    queues: Annotated[str, typer.Option(help="Queues to serve, separated by commas.")] = "cpu",
    name: Annotated[str | None, typer.Option(help="Name shown on pages; default host and process id.")] = None,
) -> None:
    """Claim runs from the server and carry them out (settings: DATACOMP_SERVER_URL, DATACOMP_WORKER_TOKEN, ...)."""
    from datacomp.logs import log_to
    from datacomp_worker.app import serve
    from datacomp_worker.pipeline import run_context
    from datacomp_worker.settings import TrainSettings, WorkerSettings

    names = tuple(queue.strip() for queue in queues.split(",") if queue.strip())
    TrainSettings()  # what is wrong there is said now, not when the first training comes
    settings = WorkerSettings(**({"worker_name": name} if name else {}))  # type: ignore[arg-type]
    log_to(sys.stderr, settings.log_format, settings.log_level, run_context)
    serve(settings, names)


@commands.command("train-host")
def train_host() -> None:
    """Lend this host to the trainings of a worker that launches on `hosts` (setting: DATACOMP_SCRATCH_DIR)."""
    from datacomp.logs import log_to
    from datacomp_worker.settings import ScratchSettings
    from datacomp_worker.training.host import serve

    settings = ScratchSettings()
    log_to(sys.stderr, settings.log_format, settings.log_level, dict)
    serve(settings.scratch)


@commands.command()
def gallery(
    dataset: Annotated[Path, typer.Argument(help="Where the rows go (.parquet): url, caption, license.")],
    suite_dir: Annotated[Path, typer.Option(help="The suite `tiny`, of which some images are copied.")],
    pictures: Annotated[int, typer.Option(min=64)] = 4096,
    seed: Annotated[int, typer.Option()] = 1,
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 0,
) -> None:
    """Generate a gallery of captioned pictures and serve it on loopback until interrupted, to be brought as data."""
    import os
    import threading

    from datacomp.lifeline import PARENT, die_with_parent
    from datacomp.suite import load_suite
    from datacomp_worker.byod.gallery import LEAKED, draw, evaluation_images, serving, write_dataset

    if PARENT in os.environ:
        die_with_parent(parent=int(os.environ[PARENT]))
    images, captions = draw(pictures, seed)
    images += evaluation_images(load_suite("tiny@2"), suite_dir, LEAKED)
    with serving(images, port) as address:
        count = write_dataset(dataset, address, captions, len(images) - len(captions))
        console.print(f"{count:,} rows in {dataset}, served at {address}; Ctrl-C ends it")
        threading.Event().wait()


@pool_commands.command()
def generate(
    directory: Annotated[Path, typer.Argument(help="Where the pool goes.")],
    pairs: Annotated[int, typer.Option(min=256, help="Image-text pairs.")] = 16_384,
    seed: Annotated[int, typer.Option(help="The same seed gives the same world.")] = 0,
    suite_dir: Annotated[
        Path | None, typer.Option(help="Where the evaluation suite goes; default DIRECTORY/suite.")
    ] = None,
) -> None:
    """Generate the tiny world: a small image-text pool that behaves like a crawl, and its evaluation suite."""
    from datacomp_worker.world import generate as generate_world

    with steps("tiny world") as report:
        world = generate_world(directory, suite_dir or directory / "suite", pairs=pairs, seed=seed, report=report)
    console.print(f"[bold]{world.rows:,}[/] pairs in {world.shards} shards at {directory}")


@pool_commands.command()
def download(
    data_dir: Annotated[Path, typer.Option(help="Where metadata/, shards/ and pack/ go.")],
    scale: Annotated[str, typer.Option(help="Scale whose pool is downloaded from the Hugging Face hub.")] = "small",
    metadata: Annotated[
        str | None, typer.Option(help="Other metadata: a folder, or a URL that fsspec opens (s3://, hf://...).")
    ] = None,
    features: Annotated[bool, typer.Option("--features", help="The .npz files with embeddings too.")] = False,
    metadata_only: Annotated[bool, typer.Option("--metadata-only", help="No images.")] = False,
    processes: Annotated[int, typer.Option(min=1)] = 16,
    threads: Annotated[int, typer.Option(min=1, help="Of each process.")] = 128,
    image_size: Annotated[int, typer.Option(min=16)] = 512,
    resize_mode: Annotated[
        str, typer.Option(help="no, border, keep_ratio, keep_ratio_largest or center_crop.")
    ] = "keep_ratio_largest",
    no_resize_only_if_bigger: Annotated[
        bool, typer.Option("--no-resize-only-if-bigger", help="Enlarge small images too.")
    ] = False,
    encode_format: Annotated[str, typer.Option(help="jpg, png or webp.")] = "jpg",
    skip_bbox_blurring: Annotated[bool, typer.Option("--skip-bbox-blurring", help="Leave faces sharp.")] = False,
    keep_replaced: Annotated[
        bool, typer.Option("--keep-replaced", help="Keep images that are not those of the metadata's sha256 any more.")
    ] = False,
    retries: Annotated[int, typer.Option(min=0, help="Further tries where one may help.")] = 2,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one image.")] = 20.0,
    max_image_bytes: Annotated[int, typer.Option(min=1)] = 32 << 20,
    host_connections: Annotated[int, typer.Option(min=1, help="Requests to one host at a time, by a process.")] = 8,
    host_interval: Annotated[float, typer.Option(min=0, help="Seconds between two requests to one host.")] = 0.0,
    allow_network: Annotated[
        list[str] | None, typer.Option(help="A network that is not public and may be connected to, as 10.1.0.0/16.")
    ] = None,
    max_bytes: Annotated[int | None, typer.Option(min=1, help="Bytes that the shards may fill.")] = None,
    keep_free: Annotated[int, typer.Option(min=0, help="Bytes of the disk that stay free.")] = 1 << 30,
    distributor: Annotated[str, typer.Option(help="multiprocessing, ray or pyspark.")] = "multiprocessing",
    rows_per_shard: Annotated[int, typer.Option(min=1)] = 10_000,
    no_ingest: Annotated[bool, typer.Option("--no-ingest", help="Leave the pack for later.")] = False,
) -> None:
    """Download a pool: its metadata, its images by img2dataset, its pack. Run it again to go on where it stopped."""
    from datacomp.console import counting
    from datacomp_worker.download.driver import Options, Space
    from datacomp_worker.download.limits import Limits
    from datacomp_worker.download.pools import Wishes, download_pool

    options = Options(
        image_size=image_size,
        resize_mode=_one_of(resize_mode, "--resize-mode", "no border keep_ratio keep_ratio_largest center_crop"),
        resize_only_if_bigger=not no_resize_only_if_bigger,
        encode_format=_one_of(encode_format, "--encode-format", "jpg png webp"),
        processes=processes,
        threads=threads,
        rows_per_shard=rows_per_shard,
        distributor=_one_of(distributor, "--distributor", "multiprocessing ray pyspark"),
    )
    limits = Limits(
        seconds=timeout,
        connect_seconds=min(timeout, Limits.connect_seconds),
        bytes=max_image_bytes,
        retries=retries,
        host_connections=host_connections,
        host_interval=host_interval,
        allowed=tuple(allow_network or ()),
    )
    wishes = Wishes(
        options=options,
        limits=limits,
        space=Space(max_bytes, keep_free),
        metadata=metadata,
        features=features,
        blur=not skip_bbox_blurring,
        keep_replaced=keep_replaced,
        metadata_only=metadata_only,
        pack=not no_ingest,
    )
    with counting("download", "rows") as report:
        done = download_pool(scale, data_dir, wishes, report)
    console.print(f"{done.files:,} metadata files at {data_dir}")
    if done.found is not None:
        console.print(f"[bold]{done.found.successes:,}[/] of {done.found.rows:,} images are here")
        for cause, count in done.found.causes.items():
            console.print(f"  {cause:<18}{count:>12,}", highlight=False)
    if done.replaced:
        console.print(f"{done.replaced:,} images are not those of the metadata any more (column `replaced`)")
    if done.pool is not None:
        console.print(f"{done.pool.rows:,} rows ingested, digest {done.pool.manifest.digest[:16]}")


def _one_of(given: str, option: str, known: str) -> Any:
    """One of the words that an option takes."""
    if given not in known.split():
        raise typer.BadParameter(f"{given!r} is none of {', '.join(known.split())}", param_hint=option)
    return given
