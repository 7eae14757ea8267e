"""Expressions tried in this process: core alone, one at a time, and bounded."""

from __future__ import annotations

import shlex
import threading
import time
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from datacomp import plugins
from datacomp.commands.kept import kept_of
from datacomp.filtering.expression import Call, Node, error_at, parse, walk
from datacomp.filtering.functions import FUNCTIONS, GROUP, MOST_COPIES
from datacomp.filtering.load import is_filter
from datacomp.filtering.parameters import plain_names
from datacomp.filtering.selection import Choice
from datacomp.messages import Kept
from datacomp.pool import Pool
from datacomp.problems import BadInput, PlatformFault
from datacomp_server.pools.library import Shelf

MOST_CALLS = 8
"""Functions of an expression that is tried here: each may sort the whole pool."""
WAITING = 4
"""Requests that are worked on or wait; more are refused."""
PATIENCE = 10.0
"""Seconds that they wait."""
KEPT = 128
"""Results that are remembered."""
EXAMPLES = 6


class Previews:
    """What expressions would keep. Safe to use from many threads."""

    def __init__(self, most_rows: int, seconds: float) -> None:
        self.most_rows, self.seconds = most_rows, seconds
        self._turn = threading.Lock()
        self._waiting = threading.BoundedSemaphore(WAITING)
        self._kept: OrderedDict[tuple[str, str, int], tuple[Kept, float]] = OrderedDict()
        self._guard = threading.Lock()

    def look(self, shelf: Shelf, expression: str, removed: Collection[str] = ()) -> tuple[Kept, float]:
        """What it would keep, and the seconds that took to find out. `BadInput` points at the column of the text that
        is wrong, or that only a filter's own code could work out; `PlatformFault` when too many ask at once."""
        self._require_plain(shelf.pool, expression)
        key = shelf.digest, expression, hash(tuple(removed))
        found = self._known(key)
        if found is not None:
            return found
        if not self._waiting.acquire(blocking=False):
            raise _busy()
        try:
            if not self._turn.acquire(timeout=PATIENCE):
                raise _busy()
            try:
                return self._known(key) or self._remember(key, self._evaluate(shelf.pool, expression, removed))
            finally:
                self._turn.release()
        finally:
            self._waiting.release()

    def _known(self, key: tuple[str, str, int]) -> tuple[Kept, float] | None:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def _remember(self, key: tuple[str, str, int], found: tuple[Kept, float]) -> tuple[Kept, float]:
        with self._guard:
            self._kept[key] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found

    def _evaluate(self, pool: Pool, expression: str, removed: Collection[str]) -> tuple[Kept, float]:
        began = time.monotonic()
        counts = self._counts(pool, expression, began)
        kept = kept_of(pool, counts, examples=EXAMPLES, without=removed)
        if kept.rows_kept > MOST_COPIES * pool.rows:
            message = f"the subset would have {kept.rows_kept:,} rows, more than {MOST_COPIES} times the pool's"
            raise BadInput.of("subset-too-large", message, hint="compare something, or repeat rows less often")
        return kept, time.monotonic() - began

    def _counts(self, pool: Pool, expression: str, began: float) -> npt.NDArray[Any]:
        try:
            return self._windows(pool, expression, began)
        except BadInput as error:
            raise _without_paths(error, pool) from error

    def _windows(self, pool: Pool, expression: str, began: float) -> npt.NDArray[Any]:
        counts: npt.NDArray[Any] = np.zeros(pool.rows, np.bool_)
        for rows, taken in Choice(pool, None, expression).windows():
            if time.monotonic() - began > self.seconds:
                message = f"the expression takes longer than the {self.seconds:g} s that a preview may take here"
                raise BadInput.of("preview-too-long", message, hint=_elsewhere(expression))
            if counts.dtype != taken.dtype:
                counts = np.zeros(pool.rows, taken.dtype)
            counts[rows] = taken
        return counts

    def _require_plain(self, pool: Pool, text: str) -> None:
        """`BadInput` for what is not tried here."""
        if pool.rows > self.most_rows:
            message = f"the pool has {pool.rows:,} rows; this server tries expressions on at most {self.most_rows:,}"
            raise BadInput.of("preview-too-large", message, hint=_elsewhere(text))
        if not text.strip():
            raise BadInput.of("expression-missing", "there is no expression", hint="for instance: words >= 3")
        tree = parse(text)
        calls = [node for node in walk(tree) if isinstance(node, Call)]
        for call in calls:
            if call.function not in FUNCTIONS and (is_filter(call.function) or plugins.is_known(GROUP, call.function)):
                raise _not_here(text, call, call.function)
        for name in plain_names(tree):
            if name.name not in pool.names and is_filter(name.name):
                raise _not_here(text, name, name.name)
        if len(calls) > MOST_CALLS:
            message = f"a preview works out at most {MOST_CALLS} functions"
            raise error_at(text, calls[MOST_CALLS].at, message, _elsewhere(text))


def _without_paths(error: BadInput, pool: Pool) -> BadInput:
    """Hints name the pool's folder, which is nobody's business but the server's."""
    folder = str(pool.directory)
    return BadInput(*(replace(each, hint=each.hint and each.hint.replace(folder, "DIR")) for each in error.problems))


def _not_here(text: str, node: Node, name: str) -> BadInput:
    message = f"{name!r} runs a filter's own code, which this server does not: only columns and plain functions"
    return error_at(text, node.at, message, _elsewhere(text))


def _elsewhere(text: str) -> str:
    return f"with a copy of the pool: datacomp filter {shlex.quote(text)} --pool DIR --dry-run"


def _busy() -> PlatformFault:
    return PlatformFault.of("preview-busy", "other expressions are being tried", hint="try again in a few seconds")
