"""The tiny world as its tests read it."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datacomp.suite import Kind, Task, load_suite
from datacomp_worker.world import World

SUITE = load_suite("tiny@2")
ZEROSHOT = [task for task in SUITE.tasks if task.kind == Kind.ZEROSHOT]


@dataclass(frozen=True)
class Made:
    """A generated world and how to read it."""

    world: World
    reported: list[tuple[str, float]]

    @cached_property
    def metadata(self) -> pa.Table:
        return pa.concat_tables([pq.read_table(path) for path in self.parquets])

    @property
    def parquets(self) -> list[Path]:
        return sorted((self.world.directory / "metadata").glob("*.parquet"))

    @cached_property
    def truth(self) -> dict[str, np.ndarray]:
        table = pq.read_table(self.world.directory / "truth.parquet")
        return {name: table.column(name).to_numpy() for name in table.column_names}

    @cached_property
    def samples(self) -> dict[str, dict[str, bytes]]:
        """The tars' samples by uid: extension to content."""
        found: dict[str, dict[str, bytes]] = {}
        for tar in sorted((self.world.directory / "shards").glob("*.tar")):
            for sample_ in grouped(members(tar)).values():
                found[json.loads(sample_["json"])["uid"]] = sample_
        return found

    def task(self, task: Task) -> dict[str, bytes]:
        return members(self.world.suite_dir / task.folder / "test" / "0.tar")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {info.name: tar.extractfile(info).read() for info in tar}


def grouped(files: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for name, data in files.items():
        key, _, extension = name.partition(".")
        found.setdefault(key, {})[extension] = data
    return found


def image_of(files: dict[str, bytes]) -> Iterator[str]:
    return (extension for extension in ("jpg", "png", "webp") if extension in files)
