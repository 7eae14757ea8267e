"""What must hold in the database whatever was killed when."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy.orm import Session

from datacomp.messages import QuotaState, RunState
from datacomp_server.database import Database
from datacomp_server.models import (
    Attempt,
    AttemptState,
    Event,
    OutboxRow,
    QuotaEntry,
    Run,
    Score,
    SeedScore,
    StoredFile,
    Submission,
)
from datacomp_server.runs.transitions import FINAL as FINAL_RUN
from datacomp_server.runs.transitions import LEGAL
from datacomp_server.submissions.states import FINAL, SCORED, UPLOADING, WITHDRAWN


@dataclass(frozen=True)
class Findings:
    """What was looked at, for the summary."""

    submissions: int
    scored: int
    runs: int
    attempts: int
    lost: int
    events: int
    handed_on_within: float
    """Seconds after the end of its lease within which every silent attempt's run was handed on."""
    taken_up_within: float
    """Seconds after the end of an attempt, or of its lease, within which the next one of its run had begun."""

    def __str__(self) -> str:
        return (
            f"{self.submissions} submissions ({self.scored} scored), {self.runs} runs, {self.attempts} attempts "
            f"({self.lost} lost, handed on within {self.handed_on_within:.1f} s of the lease's end, "
            f"next attempt within {self.taken_up_within:.1f} s), {self.events} events"
        )


def check_invariants(database: Database, *, finished: bool = True) -> Findings:
    """Assert them all. `finished`: everything that was handed in has come to its end."""
    with database.read() as session:
        submissions = {row.id: row for row in session.scalars(sa.select(Submission))}
        runs = {row.id: row for row in session.scalars(sa.select(Run))}
        attempts = list(session.scalars(sa.select(Attempt).order_by(Attempt.run_id, Attempt.fence)))
        events = list(session.scalars(sa.select(Event).order_by(Event.id)))
        _check_events(events, submissions, runs)
        _check_attempts(attempts, runs)
        _check_scores(session, submissions, runs)
        _check_files(session, attempts, runs)
        _check_outbox(session, events)
        _check_quota(session, submissions)
        if finished:
            begun = [row for row in submissions.values() if row.state != UPLOADING]
            assert all(row.state in FINAL for row in begun), [row.state for row in begun]
            assert not [attempt for attempt in attempts if attempt.state is AttemptState.OPEN]
        return Findings(
            submissions=len(submissions),
            scored=sum(row.state == SCORED for row in submissions.values()),
            runs=len(runs),
            attempts=len(attempts),
            lost=sum(attempt.state is AttemptState.LOST for attempt in attempts),
            events=len(events),
            handed_on_within=_handed_on_within(attempts),
            taken_up_within=_taken_up_within(attempts),
        )


def _check_events(events: list[Event], submissions: dict[str, Submission], runs: dict[str, Run]) -> None:
    """Every history is one chain of legal steps that ends where the row stands."""
    last_of_run: dict[str, str] = dict.fromkeys(runs, RunState.WAITING.value)
    last_of_submission: dict[str, str | None] = dict.fromkeys(submissions)
    for event in events:
        assert event.actor
        if event.run_id is None:
            assert event.before == last_of_submission[event.submission_id], (event.before, event.after)
            last_of_submission[event.submission_id] = event.after
            continue
        assert event.before == last_of_run[event.run_id], (event.run_id, event.before, event.after)
        assert event.before is not None
        assert event.after is not None
        assert RunState(event.after) in LEGAL[RunState(event.before)], (event.before, event.after)
        last_of_run[event.run_id] = event.after
    assert last_of_run == {run.id: run.state.value for run in runs.values()}
    assert last_of_submission == {row.id: row.state for row in submissions.values()}


def _check_attempts(attempts: list[Attempt], runs: dict[str, Run]) -> None:
    of_run: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in attempts:
        of_run[attempt.run_id].append(attempt)
    for run_id, run in runs.items():
        tries = of_run[run_id]
        assert [attempt.fence for attempt in tries] == list(range(1, len(tries) + 1))
        assert [attempt.number for attempt in tries] == list(range(1, len(tries) + 1))
        assert (run.fence, run.attempt_count) == (len(tries), len(tries))
        done = [attempt for attempt in tries if attempt.state is AttemptState.DONE]
        assert len(done) <= 1, "a run was done twice"
        opened = [attempt for attempt in tries if attempt.state is AttemptState.OPEN]
        assert len(opened) == (run.state is RunState.RUNNING)
        if run.state is RunState.DONE:
            assert bool(done) != bool(run.reused_from), "done by an attempt, or taken over"
        assert (run.due_at is None) == (run.state in FINAL_RUN), "only final states have no deadline"


def _check_scores(session: Session, submissions: dict[str, Submission], runs: dict[str, Run]) -> None:
    scores = [row.submission_id for row in session.scalars(sa.select(Score))]
    assert sorted(scores) == sorted(row.id for row in submissions.values() if row.state in {SCORED, WITHDRAWN})
    seeds = [(row.submission_id, row.seed) for row in session.scalars(sa.select(SeedScore))]
    assert len(seeds) == len(set(seeds)), "a score was stored twice"
    evaluated = [
        (run.submission_id, run.seed) for run in runs.values() if run.stage == "evaluate" and run.state is RunState.DONE
    ]
    assert sorted(seeds) == sorted(evaluated)


def _check_files(session: Session, attempts: list[Attempt], runs: dict[str, Run]) -> None:
    """Only what the attempt that counts has stored is promoted."""
    states = {attempt.id: attempt.state for attempt in attempts}
    for file in session.scalars(sa.select(StoredFile).where(StoredFile.promoted, StoredFile.run_id.is_not(None))):
        if file.attempt_id is not None:
            assert states[file.attempt_id] is AttemptState.DONE
        else:
            assert runs[str(file.run_id)].reused_from


def _check_outbox(session: Session, events: list[Event]) -> None:
    """Whenever a run became queued a ring was owed, in the same transaction."""
    queued = sorted(str(event.run_id) for event in events if event.run_id and event.after == RunState.QUEUED)
    assert sorted(session.scalars(sa.select(OutboxRow.run_id))) == queued


def _check_quota(session: Session, submissions: dict[str, Submission]) -> None:
    entries = {entry.submission_id: entry for entry in session.scalars(sa.select(QuotaEntry))}
    assert set(entries) == set(submissions)
    for row in submissions.values():
        settled = entries[row.id].state is not QuotaState.RESERVED
        assert settled == (row.state in FINAL), (row.state, entries[row.id].state)


def hand_overs(database: Database) -> tuple[int, float, float]:
    """How many attempts fell silent so far, and the two longest times of `Findings`."""
    with database.read() as session:
        attempts = list(session.scalars(sa.select(Attempt).order_by(Attempt.run_id, Attempt.fence)))
    lost = sum(attempt.state is AttemptState.LOST for attempt in attempts)
    return lost, _handed_on_within(attempts), _taken_up_within(attempts)


def _handed_on_within(attempts: list[Attempt]) -> float:
    lost = [attempt for attempt in attempts if attempt.state is AttemptState.LOST and attempt.ended_at is not None]
    late = [(attempt.ended_at - attempt.lease_until).total_seconds() for attempt in lost if attempt.ended_at]
    return max(late, default=0.0)


def _taken_up_within(attempts: list[Attempt]) -> float:
    """Of attempts in the order of their runs and fences."""
    pairs = [(one, after) for one, after in pairwise(attempts) if one.run_id == after.run_id and one.ended_at]
    late = [(after.started_at - min(one.lease_until, one.ended_at or one.lease_until)) for one, after in pairs]
    return max((seconds.total_seconds() for seconds in late), default=0.0)
