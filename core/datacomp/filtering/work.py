"""What a rule's long functions may know of where they are called: whether to work at all, and whom to tell of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

Report = Callable[[str, float, float], None]


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


@dataclass(frozen=True)
class Work:
    """How a function is to work."""

    only_check: bool = False
    """Whether a rule is only checked: functions that take long look at their arguments, and answer anything of the
    right type and shape."""
    report: Report = silent
    """Gets what is being done, how much of it is done and how much there is. What it raises ends the work."""


_current: ContextVar[Work] = ContextVar("work")
_PLAIN = Work()


def current() -> Work:
    """How to work, here and now."""
    return _current.get(_PLAIN)


@contextmanager
def working(work: Work) -> Iterator[None]:
    """Within, rules are evaluated so."""
    token = _current.set(work)
    try:
        yield
    finally:
        _current.reset(token)
