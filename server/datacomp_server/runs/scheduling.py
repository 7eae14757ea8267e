"""Which queued run is served next: a pure function, so that fairness can be tested and positions shown.

Organisers' priority first; then the party with the fewest running runs, then the one served least recently; among one
party's runs early stages before late ones, oldest first. A party is a participant, or a team whose members submit
together. One that was not served for a while moves up a step of priority, and a run that waited so long goes before its
party's younger ones.
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
    party: str
    priority: int
    board: str = ""
    rehearsal: bool = False


@dataclass(frozen=True)
class Load:
    """How well a party is being served."""

    running: int = 0
    served_at: datetime | None = None


def fair_order(
    candidates: Iterable[Candidate], loads: Mapping[str, Load], at: datetime, ageing: timedelta
) -> Iterator[Candidate]:
    """Candidates in the order in which they would be served from now on, lazily. O(n log n)."""
    waiting: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        waiting.setdefault(candidate.party, []).append(candidate)
    for own in waiting.values():
        own.sort(key=lambda candidate: _place(candidate, at, ageing), reverse=True)
    state = {party: loads.get(party, Load()) for party in waiting}
    heap = [(_turn(waiting[party][-1], state[party], at, ageing), party) for party in waiting]
    heapq.heapify(heap)
    while heap:
        _, party = heapq.heappop(heap)
        yield waiting[party].pop()
        if waiting[party]:
            state[party] = Load(state[party].running + 1, at)
            heapq.heappush(heap, (_turn(waiting[party][-1], state[party], at, ageing), party))


def _place(candidate: Candidate, at: datetime, ageing: timedelta) -> tuple[int, bool, int, datetime, str]:
    """Order among one party's runs."""
    young = at - candidate.queued_at < ageing
    stage = STAGE_ORDER[candidate.stage] if young else 0
    return (-candidate.priority, young, stage, candidate.queued_at, candidate.run)


def _turn(head: Candidate, load: Load, at: datetime, ageing: timedelta) -> Key:
    """Order among parties, by what each would have served next."""
    served = load.served_at or NEVER
    steps = max(at - max(head.queued_at, served), timedelta(0)) // ageing
    return (-(head.priority + steps), load.running, served, head.queued_at, head.run)
