"""Writing one shard: what every process of a resharding does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datacomp.reshard.index import Stamp, tar_changed, tar_missing
from datacomp.reshard.plan import Plan, read_plan
from datacomp.reshard.space import writing
from datacomp.tars.entries import Window
from datacomp.tars.samples import IMAGES, Sample, sample_at, uid_of
from datacomp.tars.writer import Member, TarWriter, is_sorted
from datacomp.uids import to_hex

if TYPE_CHECKING:
    from datacomp.reshard.faces import Faces

SHARD = "{:08d}.tar"
STATS = "{:08d}_stats.json"
PLACES = "{:08d}.places"
PLACE = np.dtype(
    [("shard", "<i4"), ("image_offset", "<i8"), ("image_size", "<i8"), ("text_offset", "<i8"), ("text_size", "<i8")]
)
"""The shard a sample lies in and the bytes of its image and caption there; -1 for a file that it has not."""
ABSENT = (-1, -1)


@dataclass(frozen=True)
class Job:
    """What the processes of one resharding share."""

    tars: tuple[Path, ...]
    stamps: tuple[Stamp, ...]
    """The tars' when they were indexed."""
    plan: Path
    shard_size: int
    out: Path
    work: Path
    faces: Path | None
    """`Faces` to blur, saved; None to leave images as they are."""
    places: bool
    """Whether to note where images and captions end up: `PLACES` in `work`, dtype `PLACE`."""


def is_finished(job: Job, number: int) -> bool:
    """Whether a shard is there: its figures are written after it."""
    return (job.out / STATS.format(number)).is_file() and (job.out / SHARD.format(number)).is_file()


def write_shard(job: Job, number: int) -> None:
    """Write a shard and its figures, whole or not at all. `BadInput` names a source tar, `PlatformFault` the disk."""
    path = job.out / SHARD.format(number)
    with _complete(path) as part:
        made = _Copy(job, number, part)
        made.run()
    if job.places:
        with _complete(job.work / PLACES.format(number)) as part:
            np.array(made.places, PLACE).tofile(part)
    with _complete(job.out / STATS.format(number)) as part:
        part.write_text(json.dumps({"successes": made.written}))


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """A file beside the one to be written, which takes its name once it is whole, and goes when it is not."""
    part = path.with_suffix(".part")
    with writing(path):
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


@dataclass
class _Copy:
    """The making of one shard."""

    job: Job
    number: int
    path: Path
    places: list[tuple[int, ...]] = field(default_factory=list)
    """Where each image and caption went, dtype `PLACE`, if the job asks for that."""
    written: int = 0
    _shape: tuple[str, ...] = ()
    _writer: TarWriter = field(init=False)

    def run(self) -> None:
        """Copy the plan's samples."""
        plan = _plan(self.job.plan, self.job.shard_size)
        copies = plan.shard(self.number)
        rows = plan.rows[copies[0][0] : copies[-1][0] + 1]
        uids = np.ascontiguousarray(rows["uid"])
        names = to_hex(uids)
        faces = _faces(self.job.faces).of(uids) if self.job.faces else {}
        self._writer = TarWriter(self.path)
        whole = False
        try:
            for place, tar, start, stop in _by_tar(self.job, rows):
                _, first, times = copies[place]
                for copy in range(first, first + times):
                    self._copy(tar, names[place], copy, (start, stop), faces.get(place))
            whole = True
        finally:
            self._writer.close(whole=whole)

    def _copy(self, tar: _Tar, uid: str, copy: int, span: tuple[int, int], boxes: Any) -> None:
        """Copy a sample under its key, unless it has faces and cannot be blurred."""
        start, stop = span
        try:
            window = self._writer.load(tar.file, start, stop)
            sample = sample_at(window, start, self._shape)
        except ValueError as error:
            raise tar_changed(tar.path, f"{uid} is not where it was: {error}") from error
        if sample is None or sample.stop != stop or not _names(sample, uid):
            raise tar_changed(tar.path, f"{uid} is not where it was")
        self._shape = sample.shape
        key = f"{uid}-{copy}"
        if boxes is None and sample.plain and is_sorted(sample.shape):
            self._writer.rename(sample, key)
            if self.job.places:
                base = self._writer.size - stop
                self._note(
                    {name: (base + at, size) for name, (at, size) in zip(sample.shape, sample.places, strict=True)}
                )
        else:
            members = _members(window, sample, boxes)
            self._writer.drop(window, start)
            if not members:
                return
            self._note(self._writer.write_files(key, members))
        self.written += 1

    def _note(self, files: dict[str, tuple[int, int]]) -> None:
        image = next((files[name] for name in IMAGES if name in files), ABSENT)
        self.places.append((self.number, *image, *files.get("txt", ABSENT)))


@lru_cache(1)
def _plan(path: Path, shard_size: int) -> Plan:
    return read_plan(path, shard_size)


@lru_cache(1)
def _faces(path: Path) -> Faces:
    from datacomp.reshard.faces import Faces

    return Faces.load(path)


@dataclass(frozen=True)
class _Tar:
    file: int
    path: Path


def _by_tar(job: Job, rows: Any) -> Iterator[tuple[int, _Tar, int, int]]:
    """Each row's place with the tar that it lies in and its bytes there; rows of one tar stand together."""
    numbers = rows["tar"]
    begins = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(rows)]
    starts, stops = rows["start"].tolist(), rows["stop"].tolist()
    for begin, end in pairwise(begins):
        with _opened(job, int(numbers[begin])) as tar:
            for place in range(begin, end):
                yield place, tar, starts[place], stops[place]


@contextmanager
def _opened(job: Job, number: int) -> Iterator[_Tar]:
    path = job.tars[number]
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise tar_missing(path, error) from error
    try:
        status = os.fstat(file)
        if (status.st_size, status.st_mtime_ns) != job.stamps[number]:
            raise tar_changed(path, "it was written again after it was indexed")
        yield _Tar(file, path)
    finally:
        os.close(file)


def _names(sample: Sample, uid: str) -> bool:
    """Whether a sample's json names the uid."""
    digits = uid.encode()
    return digits in (sample.json or b"") or (uid_of(sample.json) or b"").lower() == digits


def _members(window: Window, sample: Sample, boxes: Any) -> Sequence[Member]:
    """A sample's files, sorted by extension as webdataset writes them; nothing when its faces cannot be blurred."""
    files = zip(sample.shape, sample.places, strict=True)
    members = sorted(Member(extension, window.bytes(*place)) for extension, place in files)
    return members if boxes is None else _blurred(members, boxes)


def _blurred(members: Sequence[Member], boxes: Any) -> Sequence[Member]:
    from datacomp.reshard.blur import blur_faces

    image = next((member for member in members if member.extension in BLURRED), None)
    if image is None:
        return members
    try:
        blurred = blur_faces(bytes(image.data), boxes)
    except (OSError, ValueError):
        return ()  # an image that cannot be decoded cannot be blurred, and must not be handed on with its faces
    rest = [member for member in members if member is not image]
    return sorted([*rest, Member("webp", blurred)])


BLURRED = ("jpg", "jpeg", "png", "webp")
