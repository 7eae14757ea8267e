"""Subset shards on this host: what of a subset can be trained on, and the tars that hold just that.

The tars are written by `datacomp.reshard`, from the places that the pool's pack knows, and kept in a `cache.ShardCache`
named by what they were made from: the same subset of the same pool is made once on a host.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datacomp.digests import digest_json
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp.reshard import reshard_pool
from datacomp.reshard.run import INDEX, LAYOUT, META
from datacomp.reshard.space import writing
from datacomp.reshard.write import SHARD
from datacomp.uids import UID_DTYPE, Uids, halves, unknown_problem, write_subset
from datacomp_worker.shard_cache import ShardCache

SHARD_SIZE = 10_000
"""Samples per tar, as the original's resharder has it."""

Report = Callable[[int, int], None]
"""Told samples written and samples in all; may raise to stop the work."""


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
class SubsetShards:
    """A complete folder of subset shards."""

    directory: Path
    samples: int
    shards: int

    @property
    def index(self) -> npt.NDArray[np.void]:
        """Where every sample lies: shape (samples,), dtype `PLACE`, mapped."""
        index: npt.NDArray[np.void] = np.load(self.directory / INDEX, mmap_mode="r", allow_pickle=False)
        return index

    def tar(self, number: int) -> Path:
        """The tar of that number."""
        return self.directory / SHARD.format(number)


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
    pool: Pool, selection: Selection, cache: ShardCache, *, report: Report, check: Callable[[], None]
) -> Iterator[SubsetShards]:
    """The shards of a selection, made now unless they are there already; they stay while the context lasts.

    Two workers of one host that want the same shards make them once: the second waits, calling `check`, which may
    raise to stop waiting. A making that was killed is gone on with. `PlatformFault` when the pool's tars do not fit its
    pack, or the disk has no room.
    """
    key = digest_json([LAYOUT, pool.manifest.digest, selection.digest])

    def make(directory: Path) -> None:
        reshard(pool, selection.uids, directory, indexes=cache.indexes, room=cache.make_room, report=report)

    with cache.entry(key, make, check) as directory:
        yield open_shards(directory)


def open_shards(directory: Path) -> SubsetShards:
    """A complete folder of subset shards; `PlatformFault` when it is not one."""
    try:
        meta = json.loads((directory / META).read_text())
        return SubsetShards(directory, int(meta["output_count"]), int(meta["output_shard_count"]))
    except (OSError, ValueError, KeyError) as error:
        hint = "remove the folder; it is made again"
        raise PlatformFault.of("subset-shards-damaged", f"unreadable {META}: {error}", str(directory), hint) from error


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
    return open_shards(directory)
