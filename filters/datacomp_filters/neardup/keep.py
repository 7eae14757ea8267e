"""Keep rules: which rows of a near-duplicate neighbourhood go.

Rows are given in rank order, the best first; a rule returns which of them it removes. Rows of which neither is in
the other's own cell are never compared. Each rule's answer depends only on which pairs are near, never on block sizes
or order of work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from datacomp_filters.neardup.cells import Cells
from datacomp_filters.neardup.compare import Comparer, Tile, tiles_among, tiles_between
from datacomp_filters.neardup.progress import Tick, unheard
from datacomp_filters.neardup.rows import Bools, Indices

SMALLEST = 2048
"""Rows of a block that is not halved further."""
ROWS_PER_CELL_AND_BLOCK = 256
MOST_PAIRS = 4_000_000
"""Near pairs held at once; a block with more is halved."""

NONE: Indices = np.empty(0, np.int64)


@dataclass(frozen=True)
class Search:
    """What a rule works with."""

    comparer: Comparer
    cells: Cells
    tick: Tick = unheard
    """Told of rows done."""


Rule = Callable[[Search, Indices], Bools]


def greedy(search: Search, ranked: Indices) -> Bools:
    """Keep a row unless a better-ranked row that is kept is near it. The default."""
    return _Greedy(search, ranked).run()


def semdedup(search: Search, ranked: Indices) -> Bools:
    """Remove a row that has any better-ranked row near it, kept or not (SemDeDup, arXiv:2303.09540)."""
    place = _places(search, ranked)
    removed = np.zeros(len(ranked), np.bool_)
    for _, later in _near_pairs(search, ranked, search.tick):
        removed[place[later]] = True
    return removed


def components(search: Search, ranked: Indices) -> Bools:
    """Keep the best-ranked row of each connected component."""
    place = _places(search, ranked)
    best = np.arange(len(ranked))
    for earlier, later in _near_pairs(search, ranked, search.tick):
        _join(best, place[earlier], place[later])
    removed: Bools = best != np.arange(len(ranked))
    return removed


RULES: dict[str, Rule] = {"greedy": greedy, "components": components, "semdedup": semdedup}


def _places(search: Search, ranked: Indices) -> Indices:
    place = np.full(len(search.comparer.rows.features), -1, np.int64)
    place[ranked] = np.arange(len(ranked))
    return place


def _near_pairs(search: Search, ranked: Indices, tick: Tick = unheard) -> Iterator[tuple[Indices, Indices]]:
    """Near pairs, (better-ranked rows, others), tile by tile; a pair may come twice."""
    place = _places(search, ranked)
    for a, b in search.comparer.near_pairs(_tiles(search, ranked, tick)):
        swapped = place[a] > place[b]
        yield np.where(swapped, b, a), np.where(swapped, a, b)


def _tiles(search: Search, ranked: Indices, tick: Tick) -> Iterator[Tile]:
    """What is to be compared. `tick` is told of rows done, by the share of memberships in cells that are done."""
    memberships, passed, told = max(int((search.cells.nearest[ranked] >= 0).sum()), 1), 0, 0
    for _, own, guests in search.cells.members(ranked):
        yield from tiles_among(own)
        yield from tiles_between(own, guests)
        passed += len(own) + len(guests)
        tick(passed * len(ranked) // memberships - told)
        told = passed * len(ranked) // memberships


def _join(best: Indices, left: Indices, right: Indices) -> None:
    """Union of the components of left[i] and right[i]; `best` maps each place to its component's lowest."""
    while True:
        low = np.minimum(best[left], best[right])
        high = np.maximum(best[left], best[right])
        if (low == high).all():
            return
        np.minimum.at(best, high, low)
        while (best[best] != best).any():
            best[:] = best[best]


class _Greedy:
    """Goes through the ranking in blocks: first against what is kept, then among themselves.

    Dense clumps keep few rows, so neither step holds all pairs of a clump.
    """

    def __init__(self, search: Search, ranked: Indices) -> None:
        self.search, self.ranked = search, ranked
        self.place = _places(search, ranked)
        self.removed = np.zeros(len(self.place), np.bool_)
        self.kept: list[Indices] = []

    def run(self) -> Bools:
        """Which of the ranked rows go. Where few pairs are near, as mostly, one pass over the cells finds them all."""
        pairs = self._pairs_within(self.ranked, self.search.tick)
        if pairs is not None:
            self._resolve(*pairs)
            return self.removed[self.ranked]
        size = max(SMALLEST, ROWS_PER_CELL_AND_BLOCK * self.search.cells.count)
        for start in range(0, len(self.ranked), size):
            block = self.ranked[start : start + size]
            self._block(block)
            self.search.tick(len(block))
        return self.removed[self.ranked]

    def _block(self, block: Indices) -> None:
        self._against_kept(block)
        alive = block[~self.removed[block]]
        pairs = self._pairs_within(alive)
        if pairs is None:
            half = len(alive) // 2
            self._block(alive[:half])
            self._block(alive[half:])
            return
        self._resolve(*pairs)
        self.kept.append(alive[~self.removed[alive]])

    def _against_kept(self, block: Indices) -> None:
        if not self.kept:
            return
        members = self.search.cells.members(np.concatenate(self.kept))
        kept = {cell: (own, guests) for cell, own, guests in members}
        for cell, own, guests in self.search.cells.members(block):
            kept_own, kept_guests = kept.get(cell, (NONE, NONE))
            self._strike(own, np.concatenate([kept_own, kept_guests]))
            self._strike(guests, kept_own)

    def _strike(self, rows: Indices, kept: Indices) -> None:
        """Remove those of `rows` that are near one of `kept`."""
        for start in range(0, len(kept), SMALLEST):
            rows = rows[~self.removed[rows]]
            for near, _ in self.search.comparer.near_pairs(tiles_between(rows, kept[start : start + SMALLEST])):
                self.removed[near] = True

    def _pairs_within(self, alive: Indices, tick: Tick = unheard) -> tuple[Indices, Indices] | None:
        """All near pairs among `alive`, or None when they are too many to hold."""
        earlier, later = [NONE], [NONE]
        count = 0
        for left, right in _near_pairs(self.search, alive, tick):
            earlier.append(left)
            later.append(right)
            count += len(left)
            if count > MOST_PAIRS and len(alive) > SMALLEST:
                return None
        return np.concatenate(earlier), np.concatenate(later)

    def _resolve(self, earlier: Indices, later: Indices) -> None:
        order = np.argsort(self.place[earlier], kind="stable")
        earlier, later = earlier[order], later[order]
        starts = np.flatnonzero(np.diff(earlier, prepend=-1))
        for start, stop in zip(starts, np.append(starts[1:], len(earlier)), strict=False):
            if not self.removed[earlier[start]]:
                self.removed[later[start:stop]] = True
