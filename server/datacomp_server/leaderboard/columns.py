"""A board's entries in all orders, in memory: what is dear to ask a database of 100,000 entries for.

Sorted by a task, a database would have to look into every entry's scores; a page far down the board makes it count off
all entries above. So a board's ids, in the order of ranks, and the scores of all tasks (8 bytes each) are read once and
kept until something changes that ranks depend on: the log of such changes, and of the sweeps that clear it, tells.
"""

from __future__ import annotations

import math
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import func, select
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session

from datacomp_server.boards.models import Board
from datacomp_server.boards.service import BoardService
from datacomp_server.leaderboard.models import UNRANKED, RankChange, RankSweep, Score
from datacomp_server.leaderboard.order import RANK, Means, Order

MOST_BOARDS = 8
"""Boards whose columns are kept; 100,000 entries of 38 tasks take 50 MB."""


def pack(tasks: Mapping[str, Mapping[str, Any]]) -> bytes:
    """The values of all tasks in the order of their keys, as little-endian float64; NaN where there is none."""
    values = [tasks[key].get("value") for key in sorted(tasks)]
    return struct.pack(f"<{len(values)}d", *(math.nan if value is None else value for value in values))


def unpack(packed: bytes | None, keys: Sequence[str]) -> dict[str, float] | None:
    """The values by sorted `keys`, without gaps; None for an entry that was packed by other keys, or never."""
    if packed is None or len(packed) != 8 * len(keys):
        return None
    found = struct.unpack(f"<{len(keys)}d", packed)
    return {key: value for key, value in zip(keys, found, strict=True) if not math.isnan(value)}


@dataclass(frozen=True)
class Columns:
    """A board's entries in the order of their ranks."""

    ids: list[str]
    standing: NDArray[np.float64]
    main: NDArray[np.float64]
    keys: tuple[str, ...]
    tasks: NDArray[np.float64]
    """One row a key, one column an entry."""

    def page(self, order: Order, limit: int, offset: int) -> list[str] | None:
        """Ids of a page in an order; None for one that only the database knows."""
        if order == Order():
            return self.ids[offset : offset + limit]
        arranged = self._arranged(order)
        return None if arranged is None else [self.ids[place] for place in arranged[offset : offset + limit]]

    @cached_property
    def places(self) -> dict[str, int]:
        """Place of every entry, from 1."""
        return {submission: place for place, submission in enumerate(self.ids, 1)}

    def _arranged(self, order: Order) -> NDArray[np.intp] | None:
        if order.key == RANK:
            ranked = int(np.searchsorted(self.standing, UNRANKED))
            everybody = np.arange(len(self.ids))
            return np.concatenate([everybody[:ranked][::-1], everybody[ranked:][::-1]])
        column = self._column(order)
        if column is None:
            return None
        # Stable, so equal entries stay in the order of their ranks; gaps come last either way.
        return np.lexsort((-column if order.descending else column, np.isnan(column)))

    def _column(self, order: Order) -> NDArray[np.float64] | None:
        if order.task is not None:
            return (
                self.tasks[self.keys.index(order.task)] if order.task in self.keys else np.full(len(self.ids), np.nan)
            )
        if order.key in {"average", "delta"}:
            return np.where(self.standing < UNRANKED, -self.standing, np.nan)
        return self.main if order.key == "main" else None


class Kept:
    """Columns of one database's boards, the least recently asked for forgotten first. Safe to use from many threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[Hashable, Columns]] = OrderedDict()
        self._loading: dict[Hashable, threading.Lock] = {}

    def get(self, key: Hashable, version: Hashable, load: Callable[[], Columns]) -> Columns:
        """The columns of that version, loaded by one thread; meanwhile the others have those of before, if any."""
        with self._guard:
            found = self._look(key)
            lock = self._loading.setdefault(key, threading.Lock())
        if found is not None and (found[0] == version or not lock.acquire(blocking=False)):
            return found[1]
        if found is None:
            lock.acquire()
        try:
            with self._guard:
                found = self._look(key)
            if found is not None and found[0] == version:
                return found[1]
            loaded = load()
            with self._guard:
                self._kept[key] = (version, loaded)
                while len(self._kept) > MOST_BOARDS:
                    self._loading.pop(self._kept.popitem(last=False)[0], None)
            return loaded
        finally:
            lock.release()

    def _look(self, key: Hashable) -> tuple[Hashable, Columns] | None:
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found


_databases: WeakKeyDictionary[Engine, Kept] = WeakKeyDictionary()
_guard = threading.Lock()


def columns_of(session: Session, board: Board, means: Means) -> Columns:
    """A board's columns, ordered by the means that it shows."""
    bind = session.get_bind()
    engine = bind if isinstance(bind, Engine) else bind.engine
    with _guard:
        kept = _databases.setdefault(engine, Kept())
    # The version first: what changes between the two is found, at the latest, by whoever asks next.
    return kept.get((board.name, means), _version(session, board.name), lambda: _load(session, board, means))


def _version(session: Session, board: str) -> Hashable:
    """Another one after every change that ranks depend on. Changes count up until a sweep clears them; sweeps count."""
    changes = session.execute(select(func.max(RankChange.id), func.count()).where(RankChange.board_name == board)).one()
    sweep = session.execute(select(RankSweep.number, RankSweep.done_at).where(RankSweep.board_name == board)).first()
    return (tuple(changes), None if sweep is None else tuple(sweep))


def _load(session: Session, board: Board, means: Means) -> Columns:
    keys = sorted(task.key for task in BoardService.suite_of(board).tasks)
    query = select(Score.submission_id, means.standing, means.main, Score.task_values)
    query = query.where(Score.board_name == board.name, Score.listed.is_(True))
    rows = session.execute(query.order_by(means.standing, Score.handed_in_at, Score.submission_id)).all()
    blank = struct.pack(f"<{len(keys)}d", *[math.nan] * len(keys))
    packed = b"".join(row[3] if row[3] is not None and len(row[3]) == len(blank) else blank for row in rows)
    tasks = np.frombuffer(packed, dtype="<f8").reshape(len(rows), len(keys))
    return Columns(
        ids=[row[0] for row in rows],
        standing=np.array([row[1] for row in rows], dtype=np.float64),
        main=np.array([row[2] for row in rows], dtype=np.float64),
        keys=tuple(keys),
        tasks=np.ascontiguousarray(tasks.T),
    )
