"""The one table of legal run states, enforced on every write by the `Run` model."""

from __future__ import annotations

from datacomp.messages import RunState
from datacomp_server.errors import Conflict

LEGAL: dict[RunState | None, frozenset[RunState]] = {
    None: frozenset({RunState.WAITING}),
    RunState.WAITING: frozenset({RunState.QUEUED, RunState.DONE, RunState.CANCELLED}),
    RunState.QUEUED: frozenset({RunState.RUNNING, RunState.DONE, RunState.FAILED, RunState.CANCELLED}),
    RunState.RUNNING: frozenset({RunState.DONE, RunState.FAILED, RunState.QUEUED, RunState.CANCELLED}),
    RunState.DONE: frozenset(),
    RunState.FAILED: frozenset({RunState.QUEUED}),
    RunState.CANCELLED: frozenset({RunState.WAITING}),
}
"""waiting -> done and queued -> done are the reuse of finished work; running -> queued is the hand-over after a lost
lease, an overrun deadline or our fault; queued -> failed means that nobody took it up in time; failed -> queued and
cancelled -> waiting are an organiser's requeue of a failed submission."""

FINAL = frozenset({RunState.DONE, RunState.FAILED, RunState.CANCELLED})


class IllegalTransition(Conflict):
    """A write that the table of transitions does not know: a fault of ours, or a late message."""


def check_transition(before: RunState | None, after: RunState) -> None:
    """Raise `IllegalTransition` unless the table allows it."""
    if after not in LEGAL[before]:
        raise IllegalTransition.of("illegal-transition", f"a run cannot go from {before or 'nothing'} to {after}")
