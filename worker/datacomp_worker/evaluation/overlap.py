"""Generators that run side by side and are read one after the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from queue import SimpleQueue
from threading import Event, Semaphore, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
WAITING = 16
"""Items of one generator that wait to be read before it pauses."""


@dataclass(frozen=True)
class _End:
    """A generator has ended, and by what if not by itself."""

    error: BaseException | None


class Underway(Generic[Item]):
    """A generator that a thread of its own runs a few items ahead of its one reader."""

    def __init__(self, source: Generator[Item]) -> None:
        self._source = source
        self._ready: SimpleQueue[Item | _End] = SimpleQueue()
        self._room = Semaphore(WAITING)
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="underway", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        """The items in order; what ended the generator is raised after those before it."""
        while not isinstance(item := self._ready.get(), _End):
            self._room.release()
            yield item
        if item.error is not None:
            raise item.error

    def stop(self) -> None:
        """End it at its next item, and wait for that."""
        self._stopped.set()
        self._room.release()
        self._thread.join()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            for item in self._source:
                self._ready.put(item)
                self._room.acquire()
                if self._stopped.is_set():
                    break
            self._source.close()
        except BaseException as raised:  # raised again where the items are read
            error = raised
        self._ready.put(_End(error))


@dataclass
class Overlap(Generic[Item]):
    """Runs up to `width` generators at once. Use as a context manager: on leaving, those that still run are stopped."""

    width: int
    _running: deque[Underway[Item]] = field(default_factory=deque)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running:
            self._running.popleft().stop()

    def turns(self, sources: Iterable[Generator[Item]]) -> Iterator[Underway[Item]]:
        """Every generator in its turn; while one is read the next ones run already."""
        rest = iter(sources)
        self._running.extend(map(Underway, islice(rest, self.width)))
        while self._running:
            yield self._running[0]
            self._running.popleft().stop()
            self._running.extend(map(Underway, islice(rest, 1)))
