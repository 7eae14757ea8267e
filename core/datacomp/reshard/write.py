"""Writing one shard: what every process of a resharding does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.reshard.index import Stamp, tar_changed, tar_missing
from datacomp.reshard.plan import Plan, read_plan
from datacomp.reshard.space import writing
from datacomp.tars.entries import BLOCK, Window
from datacomp.tars.plain import NAMING, Apart, naming_of, pieces, take_apart
from datacomp.tars.samples import IMAGES, Sample, sample_at, uid_of
from datacomp.tars.writer import BUFFER, Member, TarWriter, is_sorted
from datacomp.uids import to_digits

if TYPE_CHECKING:
    from datacomp.reshard.faces import Faces

SHARD = "{:08d}.tar"
STATS = "{:08d}_stats.json"
PLACES = "{:08d}.places"
PLACE = np.dtype(
    [("shard", "<i4"), ("image_offset", "<i8"), ("image_size", "<i8"), ("text_offset", "<i8"), ("text_size", "<i8")]
)
"""The shard a sample lies in and the bytes of its image and caption there; -1 for a file that it has not."""
ABSENT = -1
FEW = 8
"""Samples below which copying them together gains nothing."""
ONE_DIGIT = 9
"""Copies beyond that have longer keys, and are written one by one."""


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
            np.concatenate([np.empty(0, PLACE), *made.places]).tofile(part)
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


@dataclass(frozen=True)
class _Copies:
    """The samples of one shard in order, repeats one after another. All arrays have shape (n,)."""

    tar: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    """Which copy of its uid each is."""
    digits: npt.NDArray[np.uint8]
    """The uids' hex digits, shape (n, 32)."""
    boxes: dict[int, Any]
    """The faces to blur, by place in these arrays."""

    @classmethod
    def of(cls, plan: Plan, shard: int, faces: Path | None) -> _Copies:
        copies = np.array(plan.shard(shard), np.int64).reshape(-1, 3)
        row, first, times = copies.T
        place = np.repeat(np.arange(len(row)), times)
        rows = plan.rows[row[0] : row[-1] + 1][place]
        number = first[place] + np.arange(len(place)) - (np.cumsum(times) - times)[place]
        uids = np.ascontiguousarray(rows["uid"])
        boxes = _faces(faces).of(uids) if faces else {}
        return cls(rows["tar"], rows["start"], rows["stop"], number, to_digits(uids), boxes)

    def groups(self) -> Iterator[tuple[int, int]]:
        """Ranges of samples that are worth copying together, and fit into a writer's buffer; the others alone."""
        apart = self.number > ONE_DIGIT
        apart[list(self.boxes)] = True
        others = np.append(np.flatnonzero(apart), len(apart))
        volume = np.append(0, np.cumsum(self.stop - self.start))
        at = 0
        while at < len(apart):
            fit = int(np.searchsorted(volume, volume[at] + BUFFER, "right")) - 1
            end = max(min(fit, int(others[np.searchsorted(others, at)])), at + 1)
            yield at, end
            at = end

    def spans(self, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The (tar, start, stop) of a range, in which neighbours are one."""
        tar, start, stop = (column[begin:end] for column in (self.tar, self.start, self.stop))
        first = np.append(True, (tar[1:] != tar[:-1]) | (start[1:] != stop[:-1]))
        last = np.append(first[1:], True)
        return zip(tar[first].tolist(), start[first].tolist(), stop[last].tolist(), strict=True)

    def uid(self, place: int) -> str:
        return str(self.digits[place].tobytes(), "ascii")


@dataclass
class _Copy:
    """The making of one shard."""

    job: Job
    number: int
    path: Path
    places: list[npt.NDArray[np.void]] = field(default_factory=list)
    """Where images and captions went, dtype `PLACE`, if the job asks for that."""
    written: int = 0
    _shape: tuple[str, ...] = ()
    _tar: _Tar | None = None
    _writer: TarWriter = field(init=False)

    def run(self) -> None:
        """Copy the plan's samples."""
        copies = _Copies.of(_plan(self.job.plan, self.job.shard_size), self.number, self.job.faces)
        self._writer = TarWriter(self.path)
        whole = False
        try:
            for begin, end in copies.groups():
                if end - begin < FEW or not self._together(copies, begin, end):
                    for place in range(begin, end):
                        self._copy(copies, place)
            whole = True
        finally:
            self._writer.close(whole=whole)
            self._close()

    def _together(self, copies: _Copies, begin: int, end: int) -> bool:
        """Copy samples that are all like the last one; False when they are not, and nothing was done."""
        if "json" not in self._shape or not is_sorted(self._shape):
            return False
        spans = ((self._open(tar).file, start, stop) for tar, start, stop in copies.spans(begin, end))
        digits = copies.digits[begin:end]
        try:
            content = self._writer.load_all(spans)
        except ValueError:
            self._writer.clear()
            return False
        bounds = np.append(0, np.cumsum(copies.stop[begin:end] - copies.start[begin:end]))
        loaded = take_apart(content, bounds, self._shape)
        if loaded is None or not self._all_name(loaded, content, digits):
            self._writer.clear()
            return False
        self._writer.rename_all(loaded, self._shape, digits, copies.number[begin:end])
        self._note_all(loaded)
        self.written += end - begin
        return True

    def _all_name(self, loaded: Apart, content: npt.NDArray[np.uint8], digits: npt.NDArray[np.uint8]) -> bool:
        """Whether each sample's json names its uid."""
        k = self._shape.index("json")
        at, sizes = loaded.at[:, k] + BLOCK, loaded.sizes[:, k]
        usual = (pieces(content, np.minimum(at, content.size - NAMING), NAMING) == naming_of(digits)).all(1)
        return all(
            _names(content[at[row] : at[row] + sizes[row]].tobytes(), digits[row].tobytes())
            for row in np.flatnonzero(~usual | (sizes < NAMING)).tolist()
        )

    def _note_all(self, loaded: Apart) -> None:
        if not self.job.places:
            return
        noted = np.full(len(loaded.at), ABSENT, PLACE)
        noted["shard"] = self.number
        image = next((name for name in IMAGES if name in self._shape), None)
        for name, extension in (("image", image), ("text", "txt")):
            if extension in self._shape:
                k = self._shape.index(extension)
                noted[f"{name}_offset"] = self._writer.written + loaded.at[:, k] + BLOCK
                noted[f"{name}_size"] = loaded.sizes[:, k]
        self.places.append(noted)

    def _copy(self, copies: _Copies, place: int) -> None:
        """Copy a sample under its key, unless it has faces and cannot be blurred."""
        tar, uid, boxes = self._open(int(copies.tar[place])), copies.uid(place), copies.boxes.get(place)
        start, stop = int(copies.start[place]), int(copies.stop[place])
        try:
            window = self._writer.load(tar.file, start, stop)
            sample = sample_at(window, start, self._shape)
        except ValueError as error:
            raise tar_changed(tar.path, f"{uid} is not where it was: {error}") from error
        if sample is None or sample.stop != stop or not _names(sample.json, uid.encode()):
            raise tar_changed(tar.path, f"{uid} is not where it was")
        self._shape = sample.shape
        key = f"{uid}-{copies.number[place]}"
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
        image = next((files[name] for name in IMAGES if name in files), (ABSENT, ABSENT))
        self.places.append(np.array([(self.number, *image, *files.get("txt", (ABSENT, ABSENT)))], PLACE))

    def _open(self, number: int) -> _Tar:
        """A tar: the one opened last, or another in its place."""
        if self._tar is None or self._tar.number != number:
            self._close()
            self._tar = _Tar.of(self.job, number)
        return self._tar

    def _close(self) -> None:
        if self._tar is not None:
            os.close(self._tar.file)
            self._tar = None


@lru_cache(1)
def _plan(path: Path, shard_size: int) -> Plan:
    return read_plan(path, shard_size)


@lru_cache(1)
def _faces(path: Path) -> Faces:
    from datacomp.reshard.faces import Faces

    return Faces.load(path)


@dataclass(frozen=True)
class _Tar:
    """A source tar that was opened."""

    number: int
    path: Path
    file: int

    @classmethod
    def of(cls, job: Job, number: int) -> _Tar:
        path = job.tars[number]
        try:
            file = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise tar_missing(path, error) from error
        status = os.fstat(file)
        if (status.st_size, status.st_mtime_ns) != job.stamps[number]:
            os.close(file)
            raise tar_changed(path, "it was written again after it was indexed")
        return cls(number, path, file)


def _names(about: bytes | bytearray | None, digits: bytes) -> bool:
    """Whether a sample's json names the uid of these digits."""
    return digits in (about or b"") or (uid_of(about) or b"").lower() == digits


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
