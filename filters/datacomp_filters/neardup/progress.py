"""How long work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

from datacomp.filtering.work import Report, silent

__all__ = ["Report", "Tick", "counter", "silent", "unheard"]

Tick = Callable[[int], None]
"""Gets how much more is done."""


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
