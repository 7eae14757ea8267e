"""A small pool to be resharded, and what comes of it."""

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from small_pool import SmallPool

from datacomp.pool import ingest
from datacomp.problems import BadInput, Problem
from datacomp.reshard import reshard, reshard_pool
from datacomp.uids import from_hex, sort, to_hex, write_subset


class Site:
    """A small pool, a directory for outputs, and a cache of its own."""

    def __init__(self, place: Path, rows: int = 40, shards: int = 4, **overrides) -> None:
        self.place = place
        pool = SmallPool(rows=rows, shards=shards, features=False, without_image=0, overrides=overrides)
        self.uids = from_hex(pool.write(place / "pool"))
        self.shards, self.metadata = place / "pool/shards", place / "pool/metadata"

    def subset(self, *rows: int, more=(), name: str = "subset.npy") -> Path:
        path = self.place / name
        chosen = np.concatenate([self.uids[list(rows)], from_hex(list(more))])
        write_subset(path, sort(chosen))
        return path

    def reshard(self, subset: Path, out: str = "out", **options):
        options.setdefault("workers", 1)
        return reshard(self.shards, subset, self.place / out, cache=self.place / "cache", **options)

    def files(self, out: str = "out") -> dict[str, bytes]:
        found = {}
        for path in sorted((self.place / out).glob("*.tar")):
            with tarfile.open(path) as tar:
                for member in tar:
                    assert member.name not in found
                    found[member.name] = tar.extractfile(member).read()
        return found

    def source(self, row: int) -> dict[str, bytes]:
        """A sample's files in the pool's tars, by extension."""
        uid = to_hex(self.uids[row : row + 1])[0]
        for path in sorted(self.shards.glob("*.tar")):
            with tarfile.open(path) as tar:
                files = {member.name: tar.extractfile(member).read() for member in tar}
            for name, data in files.items():
                if name.endswith(".json") and json.loads(data)["uid"] == uid:
                    stem = name.removesuffix("json")
                    return {key.removeprefix(stem): value for key, value in files.items() if key.startswith(stem)}
        raise AssertionError(uid)


def code_of(call) -> str:
    with pytest.raises(BadInput) as caught:
        call()
    return caught.value.problems[0].code


def bytes_of(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "meta.json"}


def refused_by(call) -> Problem:
    with pytest.raises(BadInput) as caught:
        call()
    return caught.value.problems[0]


def from_pool(site: Site, subset: Path, out: str, **options):
    pool = ingest(site.place / "pool", processes=1)
    return reshard_pool(pool, subset, site.place / out, cache=site.place / "of-pool", workers=1, **options)
