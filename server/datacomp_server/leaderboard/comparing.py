"""Two entries side by side, from their stored records: the same items drawn for both, task by task.

What takes long depends on digests alone, of records and of subsets, and is kept by them.
"""

from __future__ import annotations

import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from datacomp.messages import RECORDS_FILE, SUBSET_FILE, SubsetOverlap
from datacomp.problems import DatacompError
from datacomp.records import Records
from datacomp.scoring import checked_records
from datacomp.statistics.sampling import Sampled, paired
from datacomp.subsets import overlap
from datacomp.suite import Suite
from datacomp.uids import Uids, find, open_subset, to_hex
from datacomp_server.leaderboard.scoring import stored_records
from datacomp_server.storage import Storage, storage_faults

KEPT = 256
"""Results that are kept."""
LARGEST_SUBSET = 256 << 20
"""Bytes of a subset file; larger ones are compared by `datacomp uids overlap` on one's own machine."""
TRIES, EXAMPLES = 4096, 6
"""Uids that are looked for in another subset, and those of them that are told."""
Made = TypeVar("Made")


@dataclass(frozen=True)
class Stored:
    """A file in storage."""

    key: str
    digest: str
    size: int


@dataclass(frozen=True)
class Side:
    """What is stored of an entry: records by seed, in order, and the subset that was trained on."""

    records: tuple[Stored, ...]
    complete: bool
    """Whether the records of every seed are still there."""
    subset: Stored | None


class Comparisons:
    """Makes one comparison at a time, so that readers' questions cannot take all processors; keeps what was made."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._turn, self._guard = threading.Lock(), threading.Lock()

    def differences(self, storage: Storage, suite: Suite, first: Side, second: Side) -> dict[str, Sampled]:
        """Second less first by task, of the tasks that can be paired; empty where records are gone."""
        if not (first.complete and second.complete and first.records and second.records):
            return {}
        key = (suite.digest, _digests(first), _digests(second))
        try:
            return self._get(key, lambda: _differences(storage, suite, first, second))
        except DatacompError:  # gone or damaged: what is stored of the scores is compared without pairing
            return {}

    def overlap(self, storage: Storage, first: Side, second: Side) -> tuple[SubsetOverlap | None, str]:
        """How many uids both have, or why that is not told."""
        one, other = first.subset, second.subset
        if one is None or other is None:
            return None, "a subset is no longer stored"
        if max(one.size, other.size) > LARGEST_SUBSET:
            return None, "the subsets are too large to be compared here: datacomp uids overlap does it on your machine"
        try:
            return self._get((one.digest, other.digest), lambda: _overlap(storage, one, other)), ""
        except DatacompError as error:
            return None, f"a subset cannot be read: {error.problems[0].message}"

    def _get(self, key: Hashable, make: Callable[[], Made]) -> Made:
        found: Made | None = self._look(key)
        if found is not None:
            return found
        with self._turn:
            again: Made | None = self._look(key)
            if again is not None:
                return again  # somebody made it while we waited
            made = make()
            with self._guard:
                self._kept[key] = made
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return made

    def _look(self, key: Hashable) -> Any:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)


def _digests(side: Side) -> tuple[str, ...]:
    return tuple(file.digest for file in side.records)


def _differences(storage: Storage, suite: Suite, first: Side, second: Side) -> dict[str, Sampled]:
    one, other = _read(storage, suite, first), _read(storage, suite, second)
    found = {}
    for task in suite.tasks:
        pair = paired(task, [seed[task.key] for seed in one], [seed[task.key] for seed in other])
        if pair is not None:
            found[task.key] = pair
    return found


def _read(storage: Storage, suite: Suite, side: Side) -> list[dict[str, Records]]:
    every = []
    for file in side.records:
        with stored_records(storage, file.key) as path:
            every.append(checked_records(path, suite))
    return every


def _overlap(storage: Storage, one: Stored, other: Stored) -> SubsetOverlap:
    with tempfile.TemporaryDirectory(prefix="datacomp-compare-") as folder, ExitStack() as stack:
        paths = []
        for number, file in enumerate((one, other)):
            stack.enter_context(storage_faults(file.key))
            path = Path(folder) / f"{number}.npy"
            with path.open("wb") as out:
                out.writelines(storage.blocks(file.key))
            paths.append(path)
        first, second = (open_subset(path) for path in paths)
        found = overlap(first, second)
        alone = only_in(first, second), only_in(second, first)
    return SubsetOverlap(
        both=found.unique_both,
        only_first=found.unique_a - found.unique_both,
        only_second=found.unique_b - found.unique_both,
        jaccard=found.jaccard,
        first_uids=alone[0],
        second_uids=alone[1],
    )


def only_in(one: Uids, other: Uids) -> list[str]:
    """A few different uids of a sorted subset that another one lacks, always the same."""
    if not one.size:
        return []
    places = np.random.default_rng(0).choice(one.size, min(TRIES, one.size), replace=False)
    tried = np.unique(np.asarray(one[np.sort(places)]))
    alone = tried[find(tried, other) < 0]
    return to_hex(np.random.default_rng(1).permutation(alone)[:EXAMPLES])


def side_of(files: Sequence[Any], seeds: int, subset_digest: str | None) -> Side:
    """From the promoted files of a submission, in the order of its runs."""
    kept = [file for file in files if file.deleted_at is None]
    records = tuple(Stored(file.key, file.digest, file.size) for file in kept if file.name == RECORDS_FILE)
    subsets = [Stored(file.key, file.digest, file.size) for file in kept if file.name == SUBSET_FILE]
    return Side(records, len(records) == seeds, subsets[-1] if subsets and subset_digest else None)
