"""Ingestion: from an original DataComp directory to the pack beside it.

Every metadata file and every tar becomes parts of its own, one for each group of columns, by any number of processes;
parts that are there already are taken as they are, so an interrupted ingestion goes on where it stopped. Then the parts
are joined column by column, and the manifest is written last. The same directory gives the same pack. A group that is
asked for later is computed alone and joins the columns that are there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from datacomp.digests import digest_json
from datacomp.pool import columns as c
from datacomp.pool import npz, tars
from datacomp.pool.byuid import copy_by_uid
from datacomp.pool.join import PLACES, join, join_groups, write_manifest
from datacomp.pool.manifest import PACK, PoolManifest, Shard, read_manifest
from datacomp.pool.pool import METADATA, SHARDS, Pool
from datacomp.pool.recipe import BASE, Extras, Recipe
from datacomp.problems import BadInput, DatacompError, PlatformFault, Problem, raise_if_any

Report = Callable[[str, float, float], None]
PARTS = "parts"
STAMP = "sources.txt"
TARS = "places"
"""The group of a tar's only part."""
Task = tuple[Path, tuple[tuple[str, Path], ...]]
"""A source file, and the parts that it lacks by their groups."""
PLAIN = Extras()


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


def ingest(directory: Path, *, processes: int | None = None, extras: Extras = PLAIN, report: Report = silent) -> Pool:
    """Build the pack of a pool, or what it lacks of the groups asked for; return at once when it lacks nothing.

    `report` gets (what, rows done, rows in all). `BadInput` lists every file that is wrong.
    """
    recipe = extras.recipe()
    sources = _Sources.of(directory)
    pack = directory / PACK
    standing = _standing(directory, sources)
    if standing is not None:
        lacking = [g for g, digest in recipe.groups.items() if standing.made_with.get(g) != digest]
        if not lacking:
            return copy_by_uid(Pool(directory, standing))
    else:
        lacking = list(recipe.groups)
        _clear(pack)
    (pack / PARTS).mkdir(parents=True, exist_ok=True)
    work = _Work(sources, recipe, tuple(lacking), pack / PARTS)
    rows = _make_parts(work, processes or os.cpu_count() or 1, report)
    report("joining", rows, rows)
    metadata = {group: [(path, work.part(path, group)) for path in sources.metadata] for group in lacking}
    if standing is not None:
        manifest = join_groups(pack / "columns", metadata, standing, recipe)
    else:
        shards = [_shard(path, part) for path, part in metadata[BASE]]
        images = [(path, work.part(path, TARS)) for path in sources.tars]
        manifest = join(pack / "columns", metadata, images, shards, recipe)
        (pack / STAMP).write_text(sources.digest)
    write_manifest(directory, manifest)
    shutil.rmtree(pack / PARTS)
    return copy_by_uid(Pool(directory, manifest))


def _standing(directory: Path, sources: _Sources) -> PoolManifest | None:
    """The manifest of a pack that is whole and of these sources."""
    stamp = directory / PACK / STAMP
    try:
        manifest = read_manifest(directory)
    except (BadInput, PlatformFault):
        return None
    if not stamp.is_file() or stamp.read_text() != sources.digest or not Pool(directory, manifest).is_whole():
        return None
    return manifest


def _clear(pack: Path) -> None:
    """Take away a pack that no longer holds, its manifest first; parts stay."""
    (pack / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(pack / "columns", ignore_errors=True)


@dataclass(frozen=True)
class _Sources:
    """The files that a pack is made from."""

    metadata: tuple[Path, ...]
    tars: tuple[Path, ...]

    @classmethod
    def of(cls, directory: Path) -> _Sources:
        metadata = sorted((directory / METADATA).glob("*.parquet"))
        if not metadata:
            hint = "give the directory that holds metadata/ and shards/"
            raise BadInput.of("pool-empty", "there is no metadata/*.parquet", where=str(directory), hint=hint)
        return cls(tuple(metadata), tuple(sorted((directory / SHARDS).glob("*.tar"))))

    @property
    def digest(self) -> str:
        """Digest of every source file's identity."""
        return digest_json([_identity(path) for path in (*self.metadata, *self.tars)])


def _identity(path: Path) -> list[Any]:
    status = path.stat()
    beside = path.with_suffix(".npz")
    features = [beside.stat().st_size, beside.stat().st_mtime_ns] if beside.is_file() else []
    return [path.name, status.st_size, status.st_mtime_ns, features]


# --- parts


@dataclass(frozen=True)
class _Work:
    """Which parts an ingestion makes."""

    sources: _Sources
    recipe: Recipe
    groups: tuple[str, ...]
    directory: Path

    def part(self, source: Path, group: str) -> Path:
        """Where a source's part goes: another identity of source or tool means another part."""
        name = digest_json([self.recipe.groups.get(group, group), _identity(source)])[:32]
        return self.directory / f"{group}-{name}.npz"

    def tasks(self) -> Iterator[Task]:
        """Every source with the parts that are not there yet."""
        tars = self.sources.tars if BASE in self.groups else ()
        for path, groups in (*((p, self.groups) for p in self.sources.metadata), *((p, (TARS,)) for p in tars)):
            parts = tuple((group, self.part(path, group)) for group in groups)
            yield path, tuple((group, part) for group, part in parts if not part.is_file())


def _make_parts(work: _Work, processes: int, report: Report) -> int:
    """Make all parts that are missing; the number of rows in all. `BadInput` lists what is wrong with any source."""
    tasks = list(work.tasks())
    todo = [task for task in tasks if task[1]]
    rows = {source: _rows(source) for source, _ in tasks}
    total = sum(rows.values())
    done = total - sum(rows[source] for source, _ in todo)
    problems: list[Problem] = []
    report("reading", done, total)
    for (source, _), outcome in zip(todo, _run(todo, work.recipe, processes), strict=True):
        problems += outcome
        done += rows[source]
        report(source.name, done, total)
    raise_if_any(problems)
    return total


def _rows(source: Path) -> int:
    """Rows of a metadata file, for progress only: a file that cannot be read is reported later."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if source.suffix != ".parquet":
        return 0
    try:
        return int(pq.read_metadata(source).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _run(todo: Sequence[Task], recipe: Recipe, processes: int) -> Iterator[list[Problem]]:
    make = partial(_make, recipe)
    if min(processes, len(todo)) <= 1:
        yield from map(make, todo)
        return
    # Fresh interpreters: a forked one may inherit locks that threads of this one hold.
    with ProcessPoolExecutor(min(processes, len(todo)), get_context("spawn"), _keep_memory) as pool:
        yield from pool.map(make, todo)


def _keep_memory() -> None:
    """Arrow's own allocators give memory back batch by batch; to have it mapped again takes a tenth of the time."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())


def _make(recipe: Recipe, task: Task) -> list[Problem]:
    """Compute one source's parts and write each complete or not at all; returns what is wrong with the source."""
    source, parts = task
    try:
        if source.suffix == ".tar":
            index = tars.index(source)
            made: dict[str, c.Columns] = {TARS: {"uid": index.uids} | {n: getattr(index, n) for n in PLACES}}
        else:
            made = c.compute(source, [group for group, _ in parts], recipe)
            if BASE in made:
                _check_features(source, len(made[BASE]["uid"]))
    except DatacompError as error:
        return list(error.problems)
    for group, part in parts:
        temporary = part.with_suffix(f".{os.getpid()}.tmp")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **made[group])
        temporary.replace(part)
    return []


def _check_features(source: Path, rows: int) -> None:
    path = source.with_suffix(".npz")
    for member in npz.members(path).values() if path.is_file() else ():
        if len(member.shape) != 2 or member.shape[0] != rows:
            message = f"{member.name} has shape {member.shape}, the metadata {rows:,} rows"
            raise BadInput.of("npz-rows", message, where=str(path), hint="download both files again")


def _shard(path: Path, part: Path) -> Shard:
    features = path.with_suffix(".npz")
    crc = None
    if features.is_file():
        crc = digest_json([[m.name, str(m.dtype), list(m.shape), m.crc] for m in npz.members(features).values()])
    return Shard(name=path.stem, rows=npz.members(part)["uid"].shape[0], size=path.stat().st_size, features_crc=crc)
