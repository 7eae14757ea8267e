"""A task's folder on disk, in CLIP_benchmark's layout, read strictly.

    wds_<key with / as ->_test/
        classnames.txt                          one class a line, line i is class i
        zeroshot_classification_templates.txt   one template a line, `{c}` stands for the class
        test/nshards.txt                        how many shards
        test/0.tar, test/1.tar, ...             webdataset: the files of a sample share the name up to the first dot
        train/...                               the same, for tasks whose probe learns from it

Whatever is wrong is a `PlatformFault` that names task, shard and sample: evaluation data is the organiser's.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datacomp.problems import PlatformFault
from datacomp.suite import Task
from datacomp.tars.entries import Entry, Window, entries
from datacomp.variation import BLANK, Variation
from datacomp_worker.evaluation.showing import show

if TYPE_CHECKING:
    from PIL.Image import Image

CLASS_NAMES = "classnames.txt"
TEMPLATES = "zeroshot_classification_templates.txt"
IMAGE_TYPES = ("webp", "png", "jpg", "jpeg")
TEST, TRAIN = "test", "train"
RESTORE = "restore the task's folder from its source"


@dataclass(frozen=True)
class Picture:
    """An encoded image, where it comes from, and how it is shown."""

    data: bytes
    where: str
    variation: Variation | None = None

    def decode(self) -> Image:
        """The image in RGB as the variation shows it; `PlatformFault` when it cannot be read."""
        from PIL import Image, UnidentifiedImageError

        try:
            image: Image.Image = Image.open(io.BytesIO(self.data))
            image.load()
            image = image if image.mode == "RGB" else image.convert("RGB")
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise PlatformFault.of(
                "task-image-corrupt", f"not a readable image: {error}", self.where, RESTORE
            ) from error
        return show(image, self.variation) if self.variation is not None else image


@dataclass(frozen=True)
class Sample:
    """The files of one sample by type: what follows the first dot of their names, in lower case."""

    where: str
    files: Mapping[str, bytes]
    variation: Variation | None = None

    def fault(self, code: str, message: str) -> PlatformFault:
        """A fault of this sample."""
        return PlatformFault.of(code, message, self.where, RESTORE)

    def file(self, kind: str) -> bytes:
        """The file of that type; `PlatformFault` when the sample has none."""
        if kind not in self.files:
            raise self.fault("task-sample-incomplete", f"the sample has no .{kind}")
        return self.files[kind]

    def picture(self, prefix: str = "") -> Picture:
        """The sample's image, or its image of that prefix (`0.`)."""
        for kind in IMAGE_TYPES:
            if prefix + kind in self.files:
                return Picture(self.files[prefix + kind], self.where, self.variation)
        raise self.fault("task-sample-incomplete", f"the sample has no image {prefix}{'|'.join(IMAGE_TYPES)}")

    def worded(self, text: str) -> str:
        """A caption or cue as the variation words it."""
        return text if self.variation is None else self.variation.word(text)

    def text(self, kind: str) -> str:
        """A text file."""
        try:
            return self.file(kind).decode()
        except UnicodeDecodeError as error:
            raise self.fault("task-sample-invalid", f".{kind} is not UTF-8: {error}") from error

    def number(self, kind: str) -> int:
        """A text file that holds one whole number."""
        text = self.text(kind)
        try:
            return int(text)
        except ValueError as error:
            raise self.fault("task-sample-invalid", f".{kind} holds {text[:40]!r}, not a number") from error

    def json(self, kind: str = "json") -> Any:
        """A JSON file."""
        try:
            return json.loads(self.text(kind))
        except json.JSONDecodeError as error:
            raise self.fault("task-sample-invalid", f".{kind} is not JSON: {error}") from error

    def metadata(self, column: int) -> int:
        """One whole number of the sample's npy metadata."""
        try:
            array: npt.NDArray[Any] = np.load(io.BytesIO(self.file("npy")), allow_pickle=False)
        except (ValueError, OSError, EOFError) as error:
            raise self.fault("task-sample-invalid", f".npy is not a readable array: {error}") from error
        row = array.reshape(-1)
        if not np.issubdtype(row.dtype, np.number) or column >= row.size or row[column] != int(row[column]):
            raise self.fault("task-sample-invalid", f".npy has no whole number in column {column}: {row[:12]}")
        return int(row[column])


@dataclass(frozen=True)
class TaskFolder:
    """One task with its data, shown under one of its variations if it has some."""

    task: Task
    path: Path
    variation: Variation | None = None

    @classmethod
    def of(cls, task: Task, suite_dir: Path) -> TaskFolder:
        """The task's folder in the suite's; `PlatformFault` when it is missing."""
        path = suite_dir / task.folder
        if not path.is_dir():
            hint = f"put the task's data into {suite_dir}"
            raise PlatformFault.of(
                "task-missing", "this worker has no data of a task", f"{task.key}: {path.name}", hint
            )
        return cls(task, path)

    def views(self) -> Iterator[TaskFolder]:
        """The folder under every variation of its task, or as it is."""
        if not self.task.vary:
            yield self
        for variation in self.task.vary:
            yield replace(self, variation=variation)

    def plain(self) -> TaskFolder:
        """The folder as it lies there: no variation, no groups."""
        return replace(self, variation=None, task=self.task.model_copy(update={"group_column": None}))

    def fault(self, code: str, message: str, place: str) -> PlatformFault:
        """A fault of something in this folder."""
        return PlatformFault.of(code, message, f"{self.task.key}: {place}", RESTORE)

    def lines(self, name: str) -> tuple[str, ...]:
        """A text file's lines without surrounding white space; an empty line is one too."""
        try:
            found = tuple(line.strip() for line in (self.path / name).read_text().splitlines())
        except (OSError, UnicodeDecodeError) as error:
            raise self.fault("task-file-unreadable", f"{type(error).__name__}: {error}", name) from error
        if not found:
            raise self.fault("task-file-empty", "the file holds no line", name)
        return found

    def class_names(self) -> tuple[str, ...]:
        """The names by class number."""
        names = self.lines(CLASS_NAMES)
        if self.task.classes is not None and len(names) != self.task.classes:
            message = f"{len(names):,} classes, the suite says {self.task.classes:,}"
            raise self.fault("task-classes", message, CLASS_NAMES)
        return names

    def templates(self) -> tuple[str, ...]:
        """The templates, each with `{c}` for the class: those of the variation, if it has its own."""
        if self.variation is not None and self.variation.templates:
            return self.variation.templates
        found = self.lines(TEMPLATES)
        for number, template in enumerate(found, start=1):
            if BLANK not in template:
                message = f"{template[:60]!r} in line {number} has no {BLANK} for the class"
                raise self.fault("task-template-invalid", message, TEMPLATES)
        return found

    def samples(self, limit: int | None = None, *, split: str = TEST) -> Iterator[Sample]:
        """All samples in order, or the first `limit`; a number other than the suite says is a fault at the end."""
        count = 0
        for shard in range(self._shards(split)):
            for sample in self._shard(f"{split}/{shard}.tar"):
                yield sample
                count += 1
                if count == limit:
                    return self._check_count(count, split)
        return self._check_count(count, split)

    def _check_count(self, count: int, split: str) -> None:
        size = self.task.size
        if split == TRAIN:
            size = self.task.probe.train_size if self.task.probe else None
        if size is not None and count != size:
            raise self.fault("task-count", f"{count:,} samples, the suite says {size:,}", split)

    def _shards(self, split: str) -> int:
        name = f"{split}/nshards.txt"
        text = self.lines(name)[0]
        if not (text.isascii() and text.isdigit()):
            raise self.fault("task-file-invalid", f"{text[:40]!r} is not a number of shards", name)
        return int(text)

    def _shard(self, name: str) -> Iterator[Sample]:
        stem, files = "", dict[str, bytes]()
        for entry, data in self._files(name):
            if entry.stem != stem and files:
                yield Sample(f"{self.task.key}: {name}: {stem}", files, self.variation)
                files = {}
            stem = entry.stem
            if entry.extension in files:
                message = f"the sample has two files .{entry.extension}"
                raise self.fault("task-sample-invalid", message, f"{name}: {stem}")
            files[entry.extension] = data
        if files:
            yield Sample(f"{self.task.key}: {name}: {stem}", files, self.variation)

    def _files(self, name: str) -> Iterator[tuple[Entry, bytes]]:
        """A tar's files and their contents, read from front to back."""
        try:
            with (self.path / name).open("rb", buffering=0) as file:
                tar = Window(file.fileno())
                for entry in entries(tar):
                    yield entry, tar.bytes(entry.data, entry.size)
        except (OSError, ValueError) as error:
            raise self.fault("task-shard-unreadable", f"{type(error).__name__}: {error}", name) from error
