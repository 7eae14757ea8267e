"""The tiny world: a small image-text pool that behaves like a crawl, and its evaluation suite.

DIRECTORY/metadata/  shards/      the pool, in DataComp's format
DIRECTORY/truth.parquet           what is true of every row; outside what a filter is shown
DIRECTORY/world.json              pairs and seed, written last
SUITE_DIR/wds_tiny-*_test/        the tasks of the suite `tiny`
SUITE_DIR/eval_features.npz       the reference models' features of its pictures, for `datacomp pool near`
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datacomp.pool.pool import METADATA, SHARDS
from datacomp.problems import BadInput

Report = Callable[[str, float], None]
FORMAT = 2
"""Goes up when the same seed gives another world."""
TRUTH = "truth.parquet"
MARKER = "world.json"
BEGUN = "world.json.begun"
"""Beside the marker's place while a world is being made: what lies there then may be thrown away."""


@dataclass(frozen=True)
class World:
    """A generated world."""

    directory: Path
    suite_dir: Path
    rows: int
    shards: int


def generate(directory: Path, suite_dir: Path, *, pairs: int, seed: int, report: Report) -> World:
    """Make the world, or return at once when it is there. `report` gets (what, share done from 0 to 1).

    The same pairs and seed give the same bytes, whatever the number of threads outside. `BadInput` when the
    directory holds a pool that is not of this kind.
    """
    wanted = {"format": FORMAT, "pairs": pairs, "seed": seed}
    if (found := _finished(directory, suite_dir)) is not None and {k: found[k] for k in wanted} == wanted:
        return World(directory, suite_dir, pairs, found["shards"])
    _make_room(directory, suite_dir)
    shards = _generate(directory, suite_dir, pairs, seed, report)
    marker = json.dumps({**wanted, "shards": shards})
    for folder in (suite_dir, directory):
        (folder / MARKER).write_text(marker)
    (directory / BEGUN).unlink()
    return World(directory, suite_dir, pairs, shards)


def _finished(directory: Path, suite_dir: Path) -> dict[str, int] | None:
    """The markers of a finished world, when pool and suite have the same one."""
    texts = {(folder / MARKER).read_text() for folder in (directory, suite_dir) if (folder / MARKER).is_file()}
    if len(texts) != 1 or not (suite_dir / MARKER).is_file() or not (directory / MARKER).is_file():
        return None
    marker: dict[str, int] = json.loads(texts.pop())
    return marker


def _make_room(directory: Path, suite_dir: Path) -> None:
    """Remove an earlier world, finished or not; refuse to touch anything else."""
    begun = directory / BEGUN
    ours = begun.is_file() or (directory / MARKER).is_file()
    if not ours and any((directory / METADATA).glob("*.parquet")):
        hint = "choose another directory, or remove that pool"
        raise BadInput.of("world-directory-in-use", "there is another pool here", where=str(directory), hint=hint)
    directory.mkdir(parents=True, exist_ok=True)
    suite_dir.mkdir(parents=True, exist_ok=True)
    begun.touch()
    for folder in (directory, suite_dir):
        (folder / MARKER).unlink(missing_ok=True)
    for stale in (directory / METADATA, directory / SHARDS, directory / "pack", *suite_dir.glob("wds_tiny-*_test")):
        shutil.rmtree(stale, ignore_errors=True)


def _generate(directory: Path, suite_dir: Path, pairs: int, seed: int, report: Report) -> int:
    """Suite, reference models, pool: in this order, each from random numbers of its own."""
    from datacomp_worker.world import (
        corpus,
        handwriting,
        pictures,
        pool_files,
        reference,
        side_tasks,
        suite_files,
        tasks,
    )

    for_suite, for_reference, for_corpus, for_images, for_files, for_sides = np.random.default_rng(seed).spawn(6)
    report("evaluation suite", 0.0)
    writing = handwriting.load()
    plans = tasks.plan(writing.suite, for_suite)
    suite = suite_files.write_suite(suite_dir, plans, writing.images, for_suite, _within(report, 0.0, 0.2))
    suite_files.write_side_tasks(suite_dir, side_tasks.plan(for_sides), writing.images, for_sides)
    report("reference models", 0.2)
    models = reference.train_all(writing, seed, for_reference, _within(report, 0.2, 0.45))
    shown = np.stack([pictures.decode(pictures.encode_as("png", canvas), reference.SIDE) for canvas in suite.canvases])
    suite_files.write_eval_features(suite_dir, {name: reference.embed_images(m, shown) for name, m in models.items()})
    report("pictures", 0.45)
    crawl = corpus.compose(pairs, writing.pool, suite.scenes, for_corpus)
    canvases = pictures.draw(crawl.scenes, writing.images, for_images, _within(report, 0.45, 0.7))
    images = pictures.encode_all(crawl.pairs, canvases, suite.canvases, for_images)
    report("similarity scores", 0.8)
    pixels = np.stack([pictures.decode(image, reference.SIDE) for image in images])
    texts = [pair.caption for pair in crawl.pairs]
    embeddings = {name: reference.embed(model, pixels, texts) for name, model in models.items()}
    report("files", 0.9)
    uids = pool_files.new_uids(pairs, for_files)
    rows = pool_files.PoolRows(crawl.pairs, images, embeddings, uids)
    pool_files.write_truth(directory / TRUTH, rows, suite.names)
    return pool_files.write_pool(directory, rows, for_files)


def _within(report: Report, start: float, stop: float) -> Report:
    """A report of a part's own progress, as progress of the whole."""
    return lambda what, share: report(what, start + (stop - start) * share)
