"""Which queued run is served next: a pure function, so that fairness can be tested and positions shown.

Organisers' priority first; then the participant with the fewest running runs, then the one served least recently;
among one participant's runs early stages before late ones, oldest first. A participant who was not served for a while
moves up a step of priority, and a run that waited so long goes before its participant's younger ones.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from datacomp.messages import Stage

STAGE_ORDER = {stage: place for place, stage in enumerate(Stage)}
NEVER = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[int, int, datetime, datetime, str]


@dataclass(frozen=True)
class Candidate:
    """A queued run."""

    run: str
    submission: str
    stage: Stage
    queue: str
    queued_at: datetime
    user: str
    priority: int


@dataclass(frozen=True)
class Load:
    """How well a participant is being served."""

    running: int = 0
    served_at: datetime | None = None


def fair_order(
    candidates: Iterable[Candidate], loads: Mapping[str, Load], at: datetime, ageing: timedelta
) -> Iterator[Candidate]:
    """Candidates in the order in which they would be served from now on, lazily. O(n log n)."""
    waiting: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        waiting.setdefault(candidate.user, []).append(candidate)
    for own in waiting.values():
        own.sort(key=lambda candidate: _place(candidate, at, ageing), reverse=True)
    state = {user: loads.get(user, Load()) for user in waiting}
    heap = [(_turn(waiting[user][-1], state[user], at, ageing), user) for user in waiting]
    heapq.heapify(heap)
    while heap:
        _, user = heapq.heappop(heap)
        yield waiting[user].pop()
        if waiting[user]:
            state[user] = Load(state[user].running + 1, at)
            heapq.heappush(heap, (_turn(waiting[user][-1], state[user], at, ageing), user))


def _place(candidate: Candidate, at: datetime, ageing: timedelta) -> tuple[int, bool, int, datetime, str]:
    """Order among one participant's runs."""
    young = at - candidate.queued_at < ageing
    stage = STAGE_ORDER[candidate.stage] if young else 0
    return (-candidate.priority, young, stage, candidate.queued_at, candidate.run)


def _turn(head: Candidate, load: Load, at: datetime, ageing: timedelta) -> Key:
    """Order among participants, by what each would have served next."""
    served = load.served_at or NEVER
    steps = max(at - max(head.queued_at, served), timedelta(0)) // ageing
    return (-(head.priority + steps), load.running, served, head.queued_at, head.run)
