"""The stage `decontaminate`: what of a dataset evaluation has too is removed; too much of it rejects the submission."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.messages import REPORT_FILE, SUBSET_FILE, DecontaminateResult, Progress
from datacomp.pool import Pool
from datacomp.problems import BadInput, Problem
from datacomp.suite import Kind, Suite
from datacomp.tars.entries import Window
from datacomp.uids import read_subset, to_hex, write_subset
from datacomp_filters.neardup.over_pool import require_faiss
from datacomp_filters.neardup.spread import one_thread_each
from datacomp_worker.byod.describing import Describer, Kept, describer, parts_of
from datacomp_worker.evaluation.data import IMAGE_TYPES, TaskFolder
from datacomp_worker.stages.base import StageContext, StageOutput
from datacomp_worker.stages.evaluate import board_suite
from datacomp_worker.stages.pools import board_pool

FOLDER = "decontamination"
LISTED = 1000
"""Removed samples that the report names."""
SHOWN = 20
"""Of them, how many a refusal names."""


@dataclass(frozen=True)
class Evaluation:
    """What evaluation shows and asks."""

    images: Kept
    """What a `Describer` keeps of each."""
    texts: frozenset[str]


def run(context: StageContext) -> StageOutput:
    """Leave the subset without copies. `BadInput` when they are more than the board allows."""
    require_faiss()
    setting, pool, suite = context.job.board.byod, board_pool(context), board_suite(context)
    describe = describer(setting, context.suite_dir, context.device)
    evaluation = evaluation_of(suite, describe, context)

    def report(done: int) -> None:
        context.report.check()
        context.report.progress(Progress(done=done, total=pool.rows, unit="samples", note="copies"))

    likeness, same = near_images(pool, evaluation, describe, setting.near, report), same_texts(pool, evaluation)
    copies = likeness >= np.float32(setting.near)
    gone = copies | same
    subset = read_subset(context.input(SUBSET_FILE))
    kept = subset[~gone[pool.rows_of(subset)]]
    result = DecontaminateResult(
        samples=pool.rows,
        near_images=int(copies.sum()),
        same_texts=int(same.sum()),
        removed=int(gone.sum()),
        kept=pool.rows - int(gone.sum()),
        threshold=setting.near,
        limit=setting.contamination,
        method=describe.method,
        evaluation_images=len(evaluation.images),
        suite_digest=suite.digest,
    )
    said = {
        int(row): f"{describe.measure} {likeness[row]:.4f} to an evaluation image" for row in np.flatnonzero(copies)
    }
    listed = list(_listed(pool, gone, said, same))
    path = context.workspace / REPORT_FILE
    path.write_text(json.dumps({**result.model_dump(mode="json"), "removed_samples": listed}, indent=1))
    context.report.log(
        f"{result.near_images:,} of {pool.rows:,} samples are copies of evaluation images, {result.same_texts:,} have "
        f"an evaluation text: {result.removed:,} removed\n"
    )
    context.report.log("".join(f"removed {one['uid']} {one['url']}: {one['why']}\n" for one in listed[:SHOWN]))
    if gone.sum() > setting.contamination * pool.rows or not kept.size:
        raise BadInput(*_refusal(result, listed))
    reduced = context.workspace / SUBSET_FILE
    write_subset(reduced, kept)
    return StageOutput(result, {SUBSET_FILE: reduced, REPORT_FILE: path})


@one_thread_each()
def near_images(
    pool: Pool,
    evaluation: Evaluation,
    describe: Describer,
    threshold: float,
    report: Callable[[int], None] = lambda done: None,
) -> npt.NDArray[np.float32]:
    """How like every sample is to the evaluation image nearest to it, told exactly from the threshold on; NaN where a
    sample shows nothing."""
    likeness = describe.nearest(evaluation.images, threshold)
    found = np.full(pool.rows, np.nan, np.float32)
    done = 0
    for images in parts_of(_images(pool)):
        found[done : done + len(images)] = likeness(images)
        done += len(images)
        report(done)
    return found


def _images(pool: Pool) -> Iterator[bytes]:
    """The encoded images of a dataset's pool, row by row; all have one."""
    places = zip(*(pool.column(name).tolist() for name in ("tar", "image_offset", "image_size")), strict=True)
    for number, rows in groupby(places, key=lambda place: place[0]):
        with pool.tar_file(int(number)).open("rb") as file:
            window = Window(file.fileno())
            yield from (window.bytes(int(offset), int(size)) for _, offset, size in rows)


def same_texts(pool: Pool, evaluation: Evaluation) -> npt.NDArray[np.bool_]:
    """Which captions are evaluation texts."""
    found = np.zeros(pool.rows, np.bool_)
    for part in pool.shard_rows():
        texts = pool.metadata_column("text", part.shard).to_pylist()
        found[part.start : part.stop] = [plain(text or "") in evaluation.texts for text in texts]
    return found


def plain(text: str) -> str:
    """A text without what does not matter: case, and how its white space is made."""
    return " ".join(text.split()).casefold()


def evaluation_of(suite: Suite, describe: Describer, context: StageContext) -> Evaluation:
    """All test images and retrieval captions of a suite, as a describer tells them; kept on this host."""
    folder = context.scratch / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    images, texts = (folder / f"{suite.digest}-{describe.method}.{ending}" for ending in ("npy", "json"))
    if not (images.is_file() and texts.is_file()):
        _gather(suite, describe, context, images, texts)
    return Evaluation(np.load(images, allow_pickle=False), frozenset(json.loads(texts.read_text())))


def _gather(suite: Suite, describe: Describer, context: StageContext, images: Path, texts: Path) -> None:
    captions: set[str] = set()

    def shown() -> Iterator[bytes]:
        for number, task in enumerate(suite.tasks):
            for sample in TaskFolder.of(task, context.suite_dir).samples():
                yield from (data for kind, data in sample.files.items() if kind.rpartition(".")[2] in IMAGE_TYPES)
                if task.kind is Kind.RETRIEVAL and "txt" in sample.files:
                    captions.update(set(map(plain, sample.text("txt").splitlines())) - {""})
            context.report.progress(Progress(done=number + 1, total=len(suite.tasks), unit="tasks", note=task.name))

    found = np.concatenate([describe.keep(part) for part in parts_of(shown())])
    for path in (texts, images):
        temporary = path.with_name(f"{context.job.attempt}-{path.name}")
        if path is texts:
            temporary.write_text(json.dumps(sorted(captions)))
        else:
            np.save(temporary, found)
        temporary.replace(path)


def _listed(
    pool: Pool,
    gone: npt.NDArray[np.bool_],
    copies: dict[int, str],
    same: npt.NDArray[np.bool_],
) -> Iterator[dict[str, str]]:
    rows = np.flatnonzero(gone)[:LISTED]
    for part in pool.shard_rows():
        own = rows[(rows >= part.start) & (rows < part.stop)]
        urls = pool.metadata_column("url", part.shard).to_pylist() if own.size else []
        for row, uid in zip(own.tolist(), to_hex(np.asarray(pool.uids)[own]), strict=True):
            why = [copies[row]] if row in copies else []
            why += ["the caption is an evaluation text"] if same[row] else []
            yield {"uid": uid, "url": urls[row - part.start], "why": ", ".join(why)}


def _refusal(result: DecontaminateResult, listed: list[dict[str, str]]) -> Iterator[Problem]:
    found = f"{result.removed:,} of {result.samples:,} samples are evaluation data"
    message = f"{found}; this board takes {result.limit:.1%}"
    hint = "leave them out and hand in again; all are in the report"
    yield Problem(code="dataset-contaminated", message=message, hint=hint)
    for one in listed[:SHOWN]:
        yield Problem(code="evaluation-copy", message=one["why"], where=one["url"] or one["uid"])
