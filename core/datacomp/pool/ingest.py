"""Ingestion: from an original DataComp directory to the pack beside it.

Every metadata file and every tar becomes a part of its own, by any number of processes; parts that are there already
are taken as they are, so an interrupted ingestion goes on where it stopped. Then the parts are joined column by
column, and the manifest is written last. The same directory gives the same pack.
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

from datacomp.digests import digest_file, digest_json
from datacomp.pool import columns as c
from datacomp.pool import language, npz, tars
from datacomp.pool.join import LANGUAGES, PLACES, join
from datacomp.pool.manifest import MANIFEST, PACK, Shard, read_manifest
from datacomp.pool.pool import METADATA, SHARDS, Pool
from datacomp.problems import BadInput, DatacompError, Problem, raise_if_any

Report = Callable[[str, float, float], None]
PARTS = "parts"


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


def ingest(
    directory: Path, *, processes: int | None = None, language_model: Path | None = None, report: Report = silent
) -> Pool:
    """Build the pack of a pool, or return at once when it is there and its sources have not changed.

    `report` gets (what, rows done, rows in all). `BadInput` lists every file that is wrong.
    """
    sources = _Sources.of(directory, language_model or language.packaged_model())
    pack = directory / PACK
    stamp = pack / "sources.txt"
    if (pack / MANIFEST).is_file() and stamp.is_file() and stamp.read_text() == sources.digest:
        return Pool(directory, read_manifest(directory))
    (pack / MANIFEST).unlink(missing_ok=True)
    (pack / PARTS).mkdir(parents=True, exist_ok=True)
    shards = _make_parts(sources, pack, processes or os.cpu_count() or 1, report)
    report("joining", sum(shard.rows for shard in shards), sum(shard.rows for shard in shards))
    parts = {path: (path, sources.part(pack, path)) for path in (*sources.metadata, *sources.tars)}
    metadata, images = [parts[path] for path in sources.metadata], [parts[path] for path in sources.tars]
    manifest = join(pack / "columns", metadata, images, shards, sources.model_digest)
    stamp.write_text(sources.digest)
    temporary = pack / f"{MANIFEST}.tmp"
    temporary.write_text(manifest.model_dump_json(indent=1))
    temporary.replace(pack / MANIFEST)
    shutil.rmtree(pack / PARTS)
    return Pool(directory, manifest)


@dataclass(frozen=True)
class _Sources:
    """The files that a pack is made from."""

    metadata: tuple[Path, ...]
    tars: tuple[Path, ...]
    language_model: Path
    model_digest: str

    @classmethod
    def of(cls, directory: Path, model: Path) -> _Sources:
        metadata = sorted((directory / METADATA).glob("*.parquet"))
        if not metadata:
            hint = "give the directory that holds metadata/ and shards/"
            raise BadInput.of("pool-empty", "there is no metadata/*.parquet", where=str(directory), hint=hint)
        if not model.is_file():
            raise BadInput.of("language-model-missing", "there is no such language model", where=str(model))
        return cls(tuple(metadata), tuple(sorted((directory / SHARDS).glob("*.tar"))), model, digest_file(model))

    @property
    def digest(self) -> str:
        """Digest of every source file's identity."""
        return digest_json([self.model_digest, *(_identity(path) for path in (*self.metadata, *self.tars))])

    def part(self, pack: Path, source: Path) -> Path:
        """Where a source's part goes: another identity of the source means another part."""
        return pack / PARTS / f"{digest_json([self.model_digest, _identity(source)])[:32]}.npz"


def _identity(path: Path) -> list[Any]:
    status = path.stat()
    beside = path.with_suffix(".npz")
    features = [beside.stat().st_size, beside.stat().st_mtime_ns] if beside.is_file() else []
    return [path.name, status.st_size, status.st_mtime_ns, features]


# --- parts


def _make_parts(sources: _Sources, pack: Path, processes: int, report: Report) -> list[Shard]:
    work = [(path, sources.part(pack, path)) for path in (*sources.metadata, *sources.tars)]
    todo = [(source, part) for source, part in work if not part.is_file()]
    total = sum(_rows(source) for source, _ in todo)
    problems: list[Problem] = []
    done = 0
    report("reading", 0, total)
    for source, outcome in zip([s for s, _ in todo], _run(todo, sources, processes), strict=True):
        problems += outcome
        done += _rows(source)
        report(source.name, done, total)
    raise_if_any(problems)
    return [_shard(path, sources.part(pack, path)) for path in sources.metadata]


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


def _run(todo: Sequence[tuple[Path, Path]], sources: _Sources, processes: int) -> Iterator[list[Problem]]:
    make = partial(_make_part, sources.language_model)
    if min(processes, len(todo)) <= 1:
        yield from map(make, todo)
        return
    # Fresh interpreters: a forked one may inherit locks that threads of this one hold.
    with ProcessPoolExecutor(min(processes, len(todo)), get_context("spawn")) as pool:
        yield from pool.map(make, todo)


_models: dict[Path, Any] = {}


def _make_part(model: Path, item: tuple[Path, Path]) -> list[Problem]:
    """Compute one part and write it, complete or not at all; returns what is wrong with its source."""
    source, part = item
    try:
        if source.suffix == ".tar":
            index = tars.index(source)
            arrays: c.Columns = {"uid": index.uids} | {name: getattr(index, name) for name in PLACES}
        else:
            if model not in _models:
                _models[model] = language.load(model)
            shard = c.compute(source, _models[model])
            _check_features(source, len(shard.columns["uid"]))
            arrays = shard.columns | {LANGUAGES: np.array(shard.languages, "U16")}
    except DatacompError as error:
        return list(error.problems)
    temporary = part.with_suffix(".tmp")
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
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
    with np.load(part) as arrays:
        return Shard(name=path.stem, rows=len(arrays["uid"]), size=path.stat().st_size, features_crc=crc)
