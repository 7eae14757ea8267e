"""A fetched dataset as a pool of its own: written once, sent on as one tar, unpacked where a stage needs it.

Its uids are digests of image and caption, so that equal subsets are equal data, and a sample that the file lists twice
is one sample. Samples of the board's pool keep their uids.
"""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datacomp.digests import digest_file
from datacomp.pool import Extras, Pool, ingest
from datacomp.pool.pool import METADATA, SHARDS
from datacomp.problems import PlatformFault
from datacomp.reshard.run import META
from datacomp.tars.writer import Member, TarWriter
from datacomp_worker.byod.descriptors import FEATURE, Half, descriptor, stacked
from datacomp_worker.settings import CacheSettings
from datacomp_worker.shard_cache import ShardCache

SHARD_SAMPLES = 10_000
DATASETS = "datasets"
SOURCE = "source"
"""Metadata column of datasets that name sources."""
PLAIN = Extras(language=False)


@dataclass(frozen=True)
class Picture:
    """A sample that was fetched."""

    uid: str
    image: bytes
    caption: str
    url: str
    width: int
    height: int
    sha256: str
    weight: float
    license: str
    extension: str = "jpg"
    source: str | None = None
    """None where the file names no sources."""


def uid_of(sha256: str, caption: str) -> str:
    """The uid of an image and its caption."""
    return hashlib.sha256(f"{sha256}\n{caption}".encode()).hexdigest()[:32]


@dataclass
class DatasetWriter:
    """Writes samples into metadata/ and shards/ below a directory."""

    directory: Path
    rows: list[Picture] = field(default_factory=list)
    """Of the shard in the making, without their images' bytes."""
    descriptors: list[Half] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    shards: int = 0
    bytes: int = 0
    _tar: TarWriter | None = None

    def add(self, picture: Picture) -> bool:
        """Add a sample; False when it is there already. OSError or ValueError for an image that cannot be read."""
        if picture.uid in self.seen:
            return False
        found = descriptor(picture.image)
        if self._tar is None:
            for folder in (METADATA, SHARDS):
                (self.directory / folder).mkdir(parents=True, exist_ok=True)
            self._tar = TarWriter(self.directory / SHARDS / f"{self.shards:08d}.tar")
        about = {"uid": picture.uid, "url": picture.url, "sha256": picture.sha256, "width": picture.width,
                 "height": picture.height}  # fmt: skip
        members = [
            Member(picture.extension, picture.image),
            Member("json", json.dumps(about).encode()),
            Member("txt", picture.caption.encode("utf-8", "replace")),
        ]
        members.sort(key=lambda member: member.extension)
        self._tar.write_files(f"{self.shards:04d}{len(self.rows):05d}", members)
        self.seen.add(picture.uid)
        self.bytes += len(picture.image)
        self.descriptors.append(found)
        self.rows.append(Picture(**{**picture.__dict__, "image": b""}))
        if len(self.rows) == SHARD_SAMPLES:
            self.close()
        return True

    def close(self) -> None:
        """End the shard in the making."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._tar is None:
            return
        self._tar.close()
        rows, stem = self.rows, self.directory / METADATA / f"{self.shards:08d}"
        columns = {
            "uid": [row.uid for row in rows],
            "url": [row.url for row in rows],
            "text": [row.caption for row in rows],
            "original_width": pa.array([row.width for row in rows], pa.int32()),
            "original_height": pa.array([row.height for row in rows], pa.int32()),
            "sha256": [row.sha256 for row in rows],
            "weight": pa.array([row.weight for row in rows], pa.float32()),
            "license": [row.license for row in rows],
        }
        if any(row.source is not None for row in rows):
            columns[SOURCE] = [row.source or "" for row in rows]
        pq.write_table(pa.table(columns), stem.with_suffix(".parquet"))
        np.savez(stem.with_suffix(".npz"), allow_pickle=False, **{FEATURE: stacked(self.descriptors)})
        self._tar, self.rows, self.descriptors, self.shards = None, [], [], self.shards + 1


def pack(directory: Path, target: Path) -> None:
    """Metadata and shards as one plain tar, without times and owners."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _files(directory):
            info = tarfile.TarInfo(str(path.relative_to(directory)))
            info.size = path.stat().st_size
            with path.open("rb") as file:
                tar.addfile(info, file)


def _files(directory: Path) -> Iterable[Path]:
    return sorted(path for folder in (METADATA, SHARDS) for path in (directory / folder).iterdir())


@dataclass(frozen=True)
class DatasetCache(ShardCache):
    """The unpacked datasets of a host; as subset shards, the least recently used leave first, never one in use."""

    @property
    def directory(self) -> Path:
        """Holds the entries."""
        return self.scratch / DATASETS


_in_use = ExitStack()
"""Keeps the dataset that this process works on: a worker has one run at a time, and trains in processes of its own."""


def unpacked(file: Path, scratch: Path) -> Pool:
    """The pool of a packed dataset, unpacked and ingested once on this host. It stays until this process asks for
    another. `PlatformFault` for a damaged file."""
    cache = DatasetCache(scratch, CacheSettings().dataset_cache_bytes)

    def make(directory: Path) -> None:
        shutil.rmtree(directory, ignore_errors=True)
        cache.make_room(2 * file.stat().st_size)
        _unpack(file, directory)
        ingest(directory, processes=1, extras=PLAIN)
        (directory / META).write_text("{}")

    _in_use.close()
    directory = _in_use.enter_context(cache.entry(digest_file(file), make, lambda: None))
    return ingest(directory, processes=1, extras=PLAIN)


def _unpack(file: Path, directory: Path) -> None:
    try:
        with tarfile.open(file, "r:") as tar:
            tar.extractall(directory, filter="data")
    except (OSError, tarfile.TarError) as error:
        message = f"the dataset cannot be unpacked: {error}"
        raise PlatformFault.of("dataset-damaged", message, file.name, "the run is tried again") from error
    # The pack's identity has the files' times in it; the same dataset is the same pool.
    for path in _files(directory):
        path.touch()


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height of an encoded image."""
    from PIL import Image

    with Image.open(io.BytesIO(data)) as image:
        return image.size
