"""Writing one shard: what every process of a resharding does."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from datacomp.problems import BadInput, DatacompError, Problem
from datacomp.reshard import tarbytes
from datacomp.reshard.faces import Faces
from datacomp.reshard.plan import read_plan
from datacomp.uids import to_hex

SHARD = "{:08d}.tar"
STATS = "{:08d}_stats.json"
IMAGES = ("jpg", "jpeg", "png", "webp")


@dataclass(frozen=True)
class Job:
    """What the processes of one resharding share."""

    tars: tuple[Path, ...]
    plan: Path
    shard_size: int
    out: Path
    faces: Path | None
    """`Faces` to blur, saved; None to leave images as they are."""


def is_finished(job: Job, number: int) -> bool:
    """Whether a shard is there: its figures are written after it."""
    return (job.out / STATS.format(number)).is_file() and (job.out / SHARD.format(number)).is_file()


def write_shard(job: Job, number: int) -> tuple[Problem, ...]:
    """Write a shard and its figures, whole or not at all; returns what is wrong with a source tar."""
    path = job.out / SHARD.format(number)
    temporary = path.with_suffix(".part")
    try:
        successes = _copy(job, number, temporary)
    except DatacompError as error:
        return error.problems
    temporary.replace(path)
    figures = job.out / STATS.format(number)
    part = figures.with_suffix(".part")
    part.write_text(json.dumps({"successes": successes}))
    part.replace(figures)
    return ()


def _copy(job: Job, number: int, path: Path) -> int:
    plan = _plan(job.plan, job.shard_size)
    copies = plan.shard(number)
    rows = plan.rows[copies[0][0] : copies[-1][0] + 1]
    names = to_hex(np.ascontiguousarray(rows["uid"]))
    faces = _faces(job.faces).of(np.ascontiguousarray(rows["uid"])) if job.faces else {}
    writer = tarbytes.TarWriter(path)
    written = 0
    try:
        for place, row in _with_tar(job, rows):
            members = _members(row, names[place], faces.get(place))
            _, first, times = copies[place]
            for copy in range(first, first + times if members else first):
                writer.write_files(f"{names[place]}-{copy}", members)
                written += 1
    finally:
        writer.close()
    return written


@lru_cache(1)
def _plan(path: Path, shard_size: int) -> Any:
    return read_plan(path, shard_size)


@lru_cache(1)
def _faces(path: Path) -> Faces:
    return Faces.load(path)


@dataclass(frozen=True)
class _Row:
    tar: mmap.mmap
    path: Path
    start: int
    stop: int


def _with_tar(job: Job, rows: Any) -> Iterator[tuple[int, _Row]]:
    """Each row's place with the tar that it lies in, mapped; rows of one tar stand together."""
    numbers = rows["tar"]
    begins = [0, *(np.flatnonzero(np.diff(numbers)) + 1), len(rows)]
    starts, stops = rows["start"].tolist(), rows["stop"].tolist()
    for begin, end in pairwise(begins):
        path = job.tars[int(numbers[begin])]
        with _mapped(path) as tar:
            for place in range(begin, end):
                yield place, _Row(tar, path, starts[place], stops[place])


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as tar:
            yield tar
    except (FileNotFoundError, ValueError) as error:
        raise _changed(path, str(error)) from error


def _members(row: _Row, uid: str, boxes: Any) -> tuple[tarbytes.Member, ...]:
    """A sample's files, sorted by extension as webdataset writes them; nothing when its faces cannot be blurred."""
    found = sorted(tarbytes.entries(row.tar, row.start, row.stop), key=lambda entry: entry.extension)
    if not found or found[-1].stem != found[0].stem or max(entry.stop for entry in found) != row.stop:
        raise _changed(row.path, f"{uid} is not where it was")
    members = [tarbytes.Member(e.extension, row.tar[e.data : e.data + e.size]) for e in found]
    return _blurred(members, boxes) if boxes is not None else tuple(members)


def _blurred(members: list[tarbytes.Member], boxes: Any) -> tuple[tarbytes.Member, ...]:
    from datacomp.reshard.blur import blur_faces

    image = next((member for member in members if member.extension in IMAGES), None)
    if image is None:
        return tuple(members)
    try:
        blurred = blur_faces(bytes(image.data), boxes)
    except (OSError, ValueError):
        return ()  # an image that cannot be decoded cannot be blurred, and must not be handed on with its faces
    rest = [member for member in members if member is not image]
    return tuple(sorted([*rest, tarbytes.Member("webp", blurred)], key=lambda member: member.extension))


def _changed(path: Path, why: str) -> BadInput:
    hint = "restore the tar, or start again in an empty directory"
    return BadInput.of("tar-changed", f"the tar has changed: {why}", where=str(path), hint=hint)
