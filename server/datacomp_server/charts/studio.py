"""Draws charts in a process of its own and keeps what it drew: V8 and Altair stay out of the server's memory."""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import get_context
from typing import Any

from datacomp.lifeline import die_with_parent
from datacomp.problems import PlatformFault
from datacomp_server.charts.kinds import Chart, Look, Shares

PATIENCE = 30.0
"""Seconds for a drawing, the start of the process included."""
MOST = 1024
"""Specifications and drawings kept: up to a few tens of kB each."""


@dataclass
class Studio:
    """Draws charts, each once. Safe to use from many threads; the process starts with the first chart."""

    _kept: OrderedDict[tuple[str, Chart, Look], str] = field(default_factory=OrderedDict)
    _bundle: str | None = None
    _pool: ProcessPoolExecutor | None = None
    _hand: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "studio"))
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def spec(self, chart: Chart, look: Look) -> str:
        """The chart as Vega-Lite, JSON. `PlatformFault` when the drawing process does not answer."""
        if not isinstance(chart, Shares):
            return self._once("spec", chart, look, lambda: self._ask("spec", chart, look))
        # Every expression that is tried makes five of them, which differ in their data alone.
        outline = chart.outline
        frame = json.loads(self._once("spec", outline, look, lambda: self._ask("spec", outline, look)))
        return json.dumps(frame | {"datasets": {frame["data"]["name"]: chart.values}})

    def svg(self, chart: Chart, look: Look) -> str:
        """The chart drawn. `PlatformFault` as of `spec`."""
        return self._once("svg", chart, look, lambda: self._ask("svg", self.spec(chart, look)))

    def _once(self, what: str, chart: Chart, look: Look, make: Callable[[], str]) -> str:
        key = what, chart, look
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = make()
        with self._guard:
            self._kept[key] = made
            while len(self._kept) > MOST:
                self._kept.popitem(last=False)
        return made

    def bundle(self) -> str:
        """The script that makes charts answer to a pointer."""
        if self._bundle is None:
            self._bundle = self._ask("bundle")
        return self._bundle

    def close(self) -> None:
        """End the drawing process. Nothing can be drawn any more."""
        self._end()
        self._hand.shutdown(wait=False, cancel_futures=True)

    def _end(self) -> None:
        with self._guard:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, what: str, *arguments: object) -> Any:
        # The process ends with the thread that started it, so that is none of those that come and go with requests.
        return self._hand.submit(self._ask_there, what, *arguments).result()

    def _ask_there(self, what: str, *arguments: object) -> Any:
        try:
            return self._process().submit(_do, what, *arguments).result(PATIENCE)
        except (BrokenProcessPool, TookTooLong, OSError) as error:
            self._end()
            message = f"the chart could not be drawn: {type(error).__name__}"
            raise PlatformFault.of("chart-not-drawn", message, hint="load the page again in a minute") from error

    def _process(self) -> ProcessPoolExecutor:
        with self._guard:
            if self._pool is None:
                start = partial(die_with_parent, parent=os.getpid())
                self._pool = ProcessPoolExecutor(1, get_context("spawn"), start)
            return self._pool


def _do(what: str, *arguments: object) -> object:
    from datacomp_server.charts import draw

    return getattr(draw, what)(*arguments)
