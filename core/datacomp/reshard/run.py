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
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np

from datacomp.digests import digest_file, digest_json
from datacomp.lifeline import die_with_parent
from datacomp.mapped import new_mapped
from datacomp.problems import BadInput, Problem, raise_if_any
from datacomp.reshard.index import TarDirectory, TarIndex, stamp
from datacomp.reshard.pack import PoolTars
from datacomp.reshard.plan import SHARD_SIZE, Found, Plan, read_plan, write_plan
from datacomp.reshard.space import require_space, writing
from datacomp.reshard.write import PLACE, PLACES, SHARD, STATS, Job, is_finished, write_shard
from datacomp.uids import Uids, find, read_subset, release, sort

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from datacomp.pool import Pool

LAYOUT = 2
"""Raised when the bytes that a subset gives change, so that shards of two versions are never mixed."""
SAMPLE_IDS = "sample_ids.npy"
META = "meta.json"
MISSING = "missing.npy"
INDEX = "index.npy"
WORK = ".reshard"
WORTH_PROCESSES = 256 << 20
"""Bytes below which other processes take longer to start than the work takes."""
Report = Callable[[str, float, float], None]


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


class Source(Protocol):
    """Tars, and what tells where their samples lie. Passed to other processes."""

    @property
    def directory(self) -> Path:
        """What a person knows the tars by."""

    @property
    def tars(self) -> Sequence[Path]:
        """In the order in which their samples are copied."""

    @property
    def identity(self) -> Any:
        """What names the tars in their present state, as json. `BadInput` names one that is gone."""

    def prepare(self, subset: Uids, work: Path) -> Sequence[int]:
        """Numbers of the tars for which `make` has to be called; `work` is a directory for whatever it takes."""

    def make(self, work: Path, number: int) -> None:
        """Index one tar; called in any process. `BadInput` says what is wrong with it."""

    def read(self, work: Path, number: int) -> TarIndex:
        """The index of one tar."""


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


def reshard(shards: Path, subset_file: Path, out: Path, *, cache: Path | None = None, **options: Any) -> Resharded:
    """Write the shards of a subset into `out`, or what is missing of them, from a directory of tars.

    `cache` keeps the indexes of the tars. For further options and errors see `reshard_from`.
    """
    return reshard_from(TarDirectory.of(shards, cache or default_cache()), subset_file, out, **options)


def reshard_pool(pool: Pool, subset_file: Path, out: Path, *, cache: Path | None = None, **options: Any) -> Resharded:
    """As `reshard`, from the tars of an ingested pool: its pack says where the subset's samples are.

    A sample that the pack has no image and caption of counts as missing.
    """
    return reshard_from(PoolTars.of(pool, cache or default_cache()), subset_file, out, **options)


def source_of(shards: Path | None, pool: Path | None, cache: Path | None) -> Source:
    """A directory of tars or those of an ingested pool, whichever is given. `BadInput` unless just one is."""
    cache = cache or default_cache()
    if shards is not None and pool is None:
        return TarDirectory.of(shards, cache)
    if pool is not None and shards is None:
        from datacomp.pool import Pool

        return PoolTars.of(Pool.open(pool), cache)
    message = "samples come from a directory of tars or from an ingested pool"
    raise BadInput.of("option-missing", message, hint="give either --shards DIR or --pool DIR")


@dataclass(frozen=True)
class Options:
    """How a resharding is carried out."""

    workers: int | None = None
    """Processes; when None, all cores where that is worth it."""
    shard_size: int = SHARD_SIZE
    metadata: Path | None = None
    """Directory of metadata with `face_bboxes`: faces are blurred."""
    places: bool = False
    """Also write `index.npy`: where every sample's image and caption lie, dtype `write.PLACE`."""
    room: Callable[[int], None] = lambda needed: None
    """Told the bytes that will be written before the disk's free space is looked at: may make room."""
    report: Report = silent
    """Gets (what, done, in all); may raise to stop the work."""


def reshard_from(source: Source, subset_file: Path, out: Path, **options: Any) -> Resharded:
    """Write the shards of a subset; `options` are fields of `Options`.

    `BadInput` says what is wrong with subset, tars, metadata or `out`; `PlatformFault` that the disk is too small, full
    or not writable. What is complete stays, and the next call goes on from there.
    """
    how = Options(**options)
    subset = read_subset(subset_file)
    if not subset.size or how.shard_size < 1:
        raise BadInput.of("subset-empty", "there is nothing to write", where=str(subset_file))
    mark = _mark(source, subset_file, how)
    with writing(out), _claimed(out, mark) as finished:
        if finished is not None:
            return finished
        with _Run(source, subset, out, how) as run:
            made = run.carry_out(subset_file)
        settings = {"input_dir": str(source.directory), "subset_file": str(subset_file)}
        more = {"apply_blur": how.metadata is not None, "shard_size": how.shard_size}
        _finish(out, mark, made, settings | more)
        return made


def default_cache() -> Path:
    """Where indexes of tars are kept for this user."""
    import platformdirs

    return platformdirs.user_cache_path("datacomp") / "tars"


def _mark(source: Source, subset: Path, how: Options) -> str:
    """Names everything that the shards depend on."""
    faces = [[path.name, *stamp(path)] for path in sorted(how.metadata.glob("*.parquet"))] if how.metadata else None
    return digest_json([LAYOUT, source.identity, digest_file(subset), how.shard_size, faces, how.places])


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
    source: Source
    subset: Uids
    out: Path
    how: Options

    @property
    def work(self) -> Path:
        return self.out / WORK

    def carry_out(self, subset_file: Path) -> Resharded:
        """Index, plan, copy, count."""
        stamps = tuple(stamp(tar) for tar in self.source.tars)
        self._index()
        found = write_plan(self.work / "plan", self._indexes(), self.subset, lambda: release(self.subset))
        missing = found.missing(self.subset)
        plan = read_plan(self.work / "plan", self.how.shard_size)
        faces, blurred, unknown = self._faces(found, plan)
        tars = tuple(self.source.tars)
        job = Job(tars, stamps, self.work / "plan", self.how.shard_size, self.out, self.work, faces, self.how.places)
        self._write(job, plan)
        shutil.copyfile(subset_file, self.out / SAMPLE_IDS)
        if missing.size:
            with (self.out / MISSING).open("wb") as file:
                np.save(file, self.subset[missing], allow_pickle=False)
        shards = len(plan.begins) - 1
        written = sum(json.loads((self.out / STATS.format(n)).read_text())["successes"] for n in range(shards))
        if self.how.places:
            self._join_places(shards, written)
        counts = (found.processed, int(missing.size), found.twice, found.skipped, blurred, unknown)
        return Resharded(written, shards, *counts, plan.copies - written)

    def _index(self) -> None:
        """Make the indexes that are lacking; all tars that something is wrong with are named at once."""
        lacking = self.source.prepare(self.subset, self.work)
        problems: list[Problem] = []
        self.how.report("indexing", 0, len(lacking))
        volume = sum(stamp(self.source.tars[number])[0] for number in lacking)
        index_one = partial(_index_one, self.source, self.work)
        for done, outcome in enumerate(self._parallel(index_one, lacking, volume), 1):
            problems += outcome
            self.how.report("indexing", done, len(lacking))
        raise_if_any(problems)

    def _indexes(self) -> Iterator[TarIndex]:
        tars = len(self.source.tars)
        for number in range(tars):
            self.how.report("planning", number, tars)
            yield self.source.read(self.work, number)

    def _faces(self, found: Found, plan: Plan) -> tuple[Path | None, int, int]:
        """The file of the subset's faces, how many samples have some, and of how many that is not known."""
        if self.how.metadata is None:
            return None, 0, 0
        from datacomp.reshard.faces import gather_faces

        faces, known = gather_faces(self.how.metadata, self.subset)
        faces.save(self.work / "faces.npz")
        ordered = sort(np.ascontiguousarray(plan.rows["uid"]))
        blurred = int((find(faces.uids, ordered) >= 0).sum())
        return self.work / "faces.npz", blurred, int((found.there & ~known).sum())

    def _write(self, job: Job, plan: Plan) -> None:
        numbers = range(len(plan.begins) - 1)
        todo = [number for number in numbers if not is_finished(job, number)]
        needed = plan.bytes(todo)
        self.how.room(needed)
        require_space(self.out, needed)
        done = plan.copies - int(np.diff(plan.begins)[todo].sum())
        self.how.report("writing", done, plan.copies)
        for number, _ in zip(todo, self._parallel(partial(write_shard, job), todo, needed), strict=True):
            done += int(plan.begins[number + 1] - plan.begins[number])
            self.how.report("writing", done, plan.copies)

    def _join_places(self, shards: int, written: int) -> None:
        index = new_mapped(self.out / INDEX, PLACE, (written,))
        at = 0
        for number in range(shards):
            own = np.fromfile(self.work / PLACES.format(number), PLACE)
            index[at : at + own.size] = own
            at += own.size
        index.flush()

    def _parallel(self, function: Callable[[Any], Any], items: Sequence[Any], volume: int) -> Iterator[Any]:
        """The function of each item, in order; `volume` is what there is to read or to write for them, in bytes."""
        workers = self.how.workers or (os.cpu_count() or 1 if volume >= WORTH_PROCESSES else 1)
        return map(function, items) if min(workers, len(items)) <= 1 else self._pool.map(function, items)

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        """Fresh interpreters: a forked one may inherit locks that threads of this one hold."""
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        workers = self.how.workers or os.cpu_count() or 1
        return ProcessPoolExecutor(workers, get_context("spawn"), partial(die_with_parent, parent=os.getpid()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(cancel_futures=True)


def _index_one(source: Source, work: Path, number: int) -> tuple[Problem, ...]:
    try:
        source.make(work, number)
    except BadInput as error:
        return error.problems
    return ()


def _finish(out: Path, mark: str, made: Resharded, settings: dict[str, Any]) -> None:
    """Write `meta.json` last, then take away what only a resumed run needs."""
    formats = {"output_shard_format": SHARD, "output_shard_stats_format": STATS, "output_dir": str(out)}
    temporary = out / f"{META}.part"
    temporary.write_text(json.dumps({**settings, **formats, **asdict(made), "mark": mark}, indent=1))
    temporary.replace(out / META)
    shutil.rmtree(out / WORK)
    for left in out.glob("*.part"):
        left.unlink()
