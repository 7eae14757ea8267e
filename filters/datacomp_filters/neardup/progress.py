"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str, float, float], None]
"""Gets what is being done, how much of it is done, and how much there is. What it raises ends the work."""
Tick = Callable[[int], None]
"""Gets how much more is done."""


def silent(what: str, done: float, total: float) -> None:
    """A report to nobody."""


def unheard(more: int) -> None:
    """A tick to nobody."""


def counter(report: Report, what: str, total: int) -> Tick:
    """A tick that adds up and reports."""
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done = min(done + more, total)
        report(what, done, total)

    return tick
