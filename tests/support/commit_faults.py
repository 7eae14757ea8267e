"""Every commit boundary, one after the other: the n-th commit of a piece of work fails before or after it happened.

Before: nothing of the transaction is there, as after a kill a moment earlier. After: everything is there, but whoever
asked never hears of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

import sqlalchemy as sa
from sqlalchemy.orm import Session

from datacomp_server.database import Database


class Moment(StrEnum):
    BEFORE = "before"
    AFTER = "after"


class Killed(Exception):
    """Stands for kill -9 at this point."""


@dataclass
class Boundaries:
    """Counts the commits of writing sessions, and kills where `choose` says so."""

    choose: Callable[[int], Moment | None]
    """Given the number of a commit, from 1: when to kill. A commit that is tried again has a number of its own."""
    seen: int = 0
    kills: Counter[Moment] = field(default_factory=Counter)
    _chosen: dict[int, Moment | None] = field(default_factory=dict)

    def before(self, session: Session) -> None:
        self.seen += 1
        self._chosen[id(session)] = self.choose(self.seen)
        self._at(session, Moment.BEFORE)

    def after(self, session: Session) -> None:
        self._at(session, Moment.AFTER)

    def _at(self, session: Session, moment: Moment) -> None:
        if self._chosen[id(session)] is moment:
            self.kills[moment] += 1
            raise Killed(moment)


@contextmanager
def boundaries(database: Database, choose: Callable[[int], Moment | None]) -> Iterator[Boundaries]:
    """Within, commits of the database's writing sessions are counted and killed."""
    made, factory = Boundaries(choose), database._write
    sa.event.listen(factory, "before_commit", made.before)
    sa.event.listen(factory, "after_commit", made.after)
    try:
        yield made
    finally:
        sa.event.remove(factory, "before_commit", made.before)
        sa.event.remove(factory, "after_commit", made.after)
