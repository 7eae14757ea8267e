"""Resharding: the tars that hold just a subset, laid out as DataComp's resharder lays them out.

Samples are copied as bytes; nothing is decoded but images whose faces are blurred. What goes into which shard is
settled beforehand, in the order of the tars by name, so the shards are the same whatever the number of processes, and a
run that was killed goes on with the shards that are missing.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

import numpy as np

from datacomp.digests import digest_file, digest_json
from datacomp.lifeline import die_with_parent
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.reshard.faces import gather_faces
from datacomp.reshard.index import TarIndex, identity, index_file, index_tar, tar_files
from datacomp.reshard.plan import SHARD_SIZE, Plan, read_plan, write_plan
from datacomp.reshard.write import SHARD, STATS, Job, is_finished, write_shard
from datacomp.uids import Uids, find, read_subset, release, sort

LAYOUT = 1
"""Raised when the bytes that a subset gives change, so that shards of two versions are never mixed."""
SAMPLE_IDS = "sample_ids.npy"
META = "meta.json"
MISSING = "missing.npy"
WORK = ".reshard"
Report = Callable[[str, float, float], None]


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Resharded:
    """What a resharding made."""

    output_count: int
    """Samples written, repeats counted."""
    output_shard_count: int
    processed_count: int
    """Samples with a uid in the tars."""
    missing_count: int
    """Different uids of the subset that no tar has; `missing.npy` lists them."""
    duplicate_count: int
    """Samples of the subset that the tars hold again; the first of each was copied."""
    skipped_count: int
    """Samples of the tars without a uid."""
    blur_count: int
    """Different samples with faces."""
    without_metadata_count: int
    """Different samples copied without knowing whether they have faces: the metadata lacks them."""
    dropped_count: int
    """Samples left out because their image cannot be decoded, and so not be blurred."""


def reshard(
    shards: Path,
    subset_file: Path,
    out: Path,
    *,
    workers: int | None = None,
    shard_size: int = SHARD_SIZE,
    metadata: Path | None = None,
    cache: Path | None = None,
    report: Report = silent,
) -> Resharded:
    """Write the shards of a subset into `out`, or what is missing of them. With `metadata`, faces are blurred.

    `cache` keeps the indexes of the tars. `report` gets (what, done, in all). `BadInput` says what is wrong with
    subset, tars, metadata or `out`.
    """
    subset = read_subset(subset_file)
    if not subset.size or shard_size < 1:
        raise BadInput.of("subset-empty", "there is nothing to write", where=str(subset_file))
    tars = tar_files(shards)
    mark = _mark(tars, subset_file, shard_size, metadata)
    workers = workers or os.cpu_count() or 1
    with _claimed(out, mark) as finished:
        if finished is not None:
            return finished
        with _Run(tuple(tars), subset, out, shard_size, workers, cache or _default_cache(), report) as run:
            made = run.carry_out(subset_file, metadata)
        settings = {"input_dir": str(shards), "subset_file": str(subset_file), "apply_blur": metadata is not None}
        _finish(out, mark, made, settings | {"shard_size": shard_size})
        return made


def _default_cache() -> Path:
    import platformdirs

    return platformdirs.user_cache_path("datacomp") / "tars"


def _mark(tars: Sequence[Path], subset: Path, shard_size: int, metadata: Path | None) -> str:
    """Names everything that the shards depend on."""
    faces = [identity(path) for path in sorted(metadata.glob("*.parquet"))] if metadata else None
    return digest_json([LAYOUT, [identity(tar) for tar in tars], digest_file(subset), shard_size, faces])


@contextmanager
def _claimed(out: Path, mark: str) -> Iterator[Resharded | None]:
    """Hold an output directory: empty, of the same run, or finished already. `BadInput` for any other."""
    work = out / WORK
    if _finished(out, mark):
        meta = json.loads((out / META).read_text())
        yield Resharded(**{name: meta[name] for name in Resharded.__dataclass_fields__})
        return
    if out.is_dir() and any(out.iterdir()) and not (work / "mark").is_file():
        hint = "choose another directory, or empty this one"
        raise BadInput.of("out-not-empty", "the directory holds other files", where=str(out), hint=hint)
    work.mkdir(parents=True, exist_ok=True)
    with (work / "mark").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BadInput.of("out-busy", "another resharding writes there now", where=str(out)) from error
        file.seek(0)
        begun = file.read()
        if begun not in {"", mark}:
            hint = "the tars, the subset or the options are others: choose another directory, or empty this one"
            raise BadInput.of("out-not-empty", "another resharding was begun there", where=str(out), hint=hint)
        if not begun:
            file.write(mark)
            file.flush()
        yield None


def _finished(out: Path, mark: str) -> bool:
    try:
        return bool(json.loads((out / META).read_text()).get("mark") == mark)
    except (OSError, ValueError, AttributeError):
        return False


@dataclass(frozen=True)
class _Run:
    tars: tuple[Path, ...]
    subset: Uids
    out: Path
    shard_size: int
    workers: int
    cache: Path
    report: Report

    def carry_out(self, subset_file: Path, metadata: Path | None) -> Resharded:
        """Index, plan, copy, count."""
        self.cache.mkdir(parents=True, exist_ok=True)
        self._index()
        work = self.out / WORK
        found = write_plan(work / "plan", self._indexes(), self.subset, lambda: release(self.subset))
        missing = found.missing(self.subset)
        plan = read_plan(work / "plan", self.shard_size)
        blurred = unknown = 0
        if metadata is not None:
            faces, known = gather_faces(metadata, self.subset)
            faces.save(work / "faces.npz")
            blurred, unknown = _count_faces(faces.uids, plan), int((found.there & ~known).sum())
        job = Job(self.tars, work / "plan", self.shard_size, self.out, work / "faces.npz" if metadata else None)
        self._write(job, plan)
        shutil.copyfile(subset_file, self.out / SAMPLE_IDS)
        if missing.size:
            with (self.out / MISSING).open("wb") as file:
                np.save(file, self.subset[missing], allow_pickle=False)
        shards = len(plan.begins) - 1
        written = sum(json.loads((self.out / STATS.format(n)).read_text())["successes"] for n in range(shards))
        counts = (found.processed, int(missing.size), found.twice, found.skipped, blurred, unknown)
        return Resharded(written, shards, *counts, plan.copies - written)

    def _index(self) -> None:
        """Make the indexes that the cache lacks; all damaged tars are named at once."""
        lacking = [tar for tar in self.tars if not index_file(tar, self.cache).is_file()]
        problems: list[Problem] = []
        self.report("indexing", 0, len(lacking))
        for done, outcome in enumerate(self._parallel(partial(_index_one, self.cache), lacking), 1):
            problems += outcome
            self.report("indexing", done, len(lacking))
        raise_if_any(problems)

    def _indexes(self) -> Iterator[TarIndex]:
        for number, tar in enumerate(self.tars):
            self.report("planning", number, len(self.tars))
            yield index_tar(tar, self.cache)

    def _write(self, job: Job, plan: Plan) -> None:
        numbers = range(len(plan.begins) - 1)
        todo = [number for number in numbers if not is_finished(job, number)]
        done = plan.copies - int(np.diff(plan.begins)[todo].sum())
        self.report("writing", done, plan.copies)
        for number, problems in zip(todo, self._parallel(partial(write_shard, job), todo), strict=True):
            raise_if_any(problems)
            done += int(plan.begins[number + 1] - plan.begins[number])
            self.report("writing", done, plan.copies)

    def _parallel(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        if min(self.workers, len(items)) <= 1:
            return map(function, items)
        return self._pool.map(function, items)

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        """Fresh interpreters: a forked one may inherit locks that threads of this one hold."""
        return ProcessPoolExecutor(self.workers, get_context("spawn"), partial(die_with_parent, parent=os.getpid()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(cancel_futures=True)


def _index_one(cache: Path, tar: Path) -> tuple[Problem, ...]:
    try:
        index_tar(tar, cache)
    except BadInput as error:
        return error.problems
    return ()


def _count_faces(uids: Uids, plan: Plan) -> int:
    ordered = sort(np.ascontiguousarray(plan.rows["uid"]))
    return int((find(uids, ordered) >= 0).sum())


def _finish(out: Path, mark: str, made: Resharded, settings: dict[str, Any]) -> None:
    """Write `meta.json` last, then take away what only a resumed run needs."""
    formats = {"output_shard_format": SHARD, "output_shard_stats_format": STATS, "output_dir": str(out)}
    temporary = out / f"{META}.part"
    temporary.write_text(json.dumps({**settings, **formats, **asdict(made), "mark": mark}, indent=1))
    temporary.replace(out / META)
    shutil.rmtree(out / WORK)
    for left in out.glob("*.part"):
        left.unlink()
