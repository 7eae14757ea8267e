"""Subset shards on this host: what of a subset can be trained on, and where its samples are read.

They are read where they lie in the pool's tars (virtual shards: an index alone is written), or in tars that hold just
the subset. Both are written by `datacomp.reshard`, from the places that the pool's pack knows, and kept in a
`ShardCache` named by what they were made from: the same subset of the same pool is made once on a host. Sample n of the
one is sample n of the other, so a training does not depend on which it reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datacomp.digests import digest_json
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard import reshard_pool
from datacomp.reshard.pack import PoolTars
from datacomp.reshard.run import LAYOUT
from datacomp.reshard.space import writing
from datacomp.reshard.virtual import VIRTUAL_LAYOUT, from_pool
from datacomp.uids import UID_DTYPE, Uids, halves, unknown_problem, write_subset
from datacomp_worker.shard_cache import ShardCache
from datacomp_worker.shards import SubsetShards, mixture_digest, open_shards, subset_shards

SHARD_SIZE = 10_000
"""Samples per tar, as the original's resharder has it."""

Report = Callable[[int, int], None]
"""Told samples written (or tars looked at) and how many there are in all; may raise to stop the work."""
Kind = Literal["virtual", "tars"]

__all__ = [
    "Kind",
    "Mixed",
    "Part",
    "Selection",
    "SubsetShards",
    "materialise",
    "open_shards",
    "reshard",
    "select",
    "virtual",
]


@dataclass(frozen=True)
class Selection:
    """What of a subset can be trained on here."""

    uids: Uids
    """Sorted, repeats kept, only samples whose image is at hand."""
    unavailable: int
    """Rows of the subset whose image is not."""

    @property
    def unique(self) -> int:
        """Distinct samples."""
        pair = halves(self.uids)
        return 1 + int((pair[1:] != pair[:-1]).any(axis=1).sum())

    @property
    def digest(self) -> str:
        """Digest of the uids as little-endian `u8,u8` bytes."""
        sha = hashlib.sha256()
        sha.update(np.ascontiguousarray(self.uids.astype(UID_DTYPE, copy=False)).view(np.uint8).data)
        return sha.hexdigest()


@dataclass(frozen=True)
class Part:
    """What is selected of one source."""

    name: str
    selection: Selection
    weight: float
    """How often one of its samples is drawn, against a sample of a source of weight 1."""


@dataclass(frozen=True)
class Mixed(Selection):
    """A selection whose samples are drawn from several sources, by weight."""

    parts: tuple[Part, ...] = ()

    @property
    def digest(self) -> str:
        """Of the sources' digests and weights, in order."""
        return mixture_digest([(part.selection.digest, part.weight) for part in self.parts])


def select(pool: Pool, uids: Uids, *, limit: int | None = None) -> Selection:
    """The rows of a sorted subset that have an image here; at most `limit` of them, evenly spread.

    `BadInput`: `uids-unknown` when the pool lacks some, `subset-without-images` when none is left. `PlatformFault`
    `pool-without-images` when this host has metadata alone.
    """
    rows = pool.rows_of(uids)
    if (rows < 0).any():
        raise BadInput(unknown_problem(np.flatnonzero(rows < 0), uids))
    if not pool.manifest.tars:
        hint = "download the pool's images to this host and ingest it again"
        raise PlatformFault.of(
            "pool-without-images", "this host has the pool's metadata alone", str(pool.directory), hint
        )
    at_hand = pool.available[rows] if rows.size else np.empty(0, bool)
    kept = np.asarray(uids)[at_hand]
    if not kept.size:
        message = f"none of the subset's {uids.size:,} samples has an image on this site"
        hint = "choose other samples, or ask the organiser which images could not be downloaded"
        raise BadInput.of("subset-without-images", message, hint=hint)
    if limit is not None and kept.size > limit:
        kept = kept[np.linspace(0, kept.size - 1, limit).astype(np.int64)]
    return Selection(kept, int(uids.size - at_hand.sum()))


@contextmanager
def materialise(
    pool: Pool,
    selection: Selection,
    cache: ShardCache,
    *,
    report: Report,
    check: Callable[[], None],
    kind: Kind = "tars",
) -> Iterator[SubsetShards]:
    """The shards of a selection, made now unless they are there already; they stay while the context lasts.

    Two workers of one host that want the same shards make them once: the second waits, calling `check`, which may
    raise to stop waiting. A making that was killed is gone on with. `PlatformFault` when the pool's tars do not fit its
    pack, or the disk has no room.
    """
    source = [LAYOUT, pool.manifest.digest] if kind == "tars" else [VIRTUAL_LAYOUT, _tars_now(pool, cache)]
    write = reshard if kind == "tars" else virtual

    def make(directory: Path) -> None:
        write(pool, selection.uids, directory, indexes=cache.indexes, room=cache.make_room, report=report)

    with cache.entry(digest_json([*source, selection.digest]), make, check) as directory:
        yield subset_shards(directory)


def _tars_now(pool: Pool, cache: ShardCache) -> list[Any]:
    """What names the pool's tars in their present state: virtual shards of what they were are not used any more."""
    try:
        return PoolTars.of(pool, cache.indexes).identity
    except BadInput as error:
        raise PlatformFault(*error.problems) from error


def virtual(
    pool: Pool,
    uids: Uids,
    directory: Path,
    *,
    indexes: Path | None = None,
    room: Callable[[int], None] = lambda needed: None,
    report: Report = lambda done, total: None,
) -> SubsetShards:
    """Virtual shards of a sorted subset, all of whose samples have an image. `PlatformFault` as `materialise`."""
    try:
        from_pool(pool, uids, directory, cache=indexes, room=room, report=report)
    except BadInput as error:  # the subset was checked before: what is wrong is a tar of the pool
        raise PlatformFault(*error.problems) from error
    return subset_shards(directory)


def reshard(
    pool: Pool,
    uids: Uids,
    directory: Path,
    *,
    shard_size: int = SHARD_SIZE,
    indexes: Path | None = None,
    room: Callable[[int], None] = lambda needed: None,
    report: Report = lambda done, total: None,
) -> SubsetShards:
    """Write the shards of a sorted subset, all of whose samples have an image. `PlatformFault` as `materialise`."""
    subset = directory.with_suffix(".npy")

    def told(what: str, done: float, total: float) -> None:
        if what == "writing":
            report(int(done), int(total))

    try:
        with writing(subset):
            write_subset(subset, uids)
        how = {"shard_size": shard_size, "places": True, "room": room, "report": told}
        reshard_pool(pool, subset, directory, cache=indexes, **how)
    except BadInput as error:  # the subset was checked before: what is wrong is a tar of ours
        raise PlatformFault(*error.problems) from error
    finally:
        subset.unlink(missing_ok=True)
    return subset_shards(directory)
