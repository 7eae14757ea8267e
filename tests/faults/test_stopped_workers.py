"""Workers that are stopped and go on when their run is somebody else's; cancelled runs whose child must end.

The processes are real; see `test_many_kills.py` for what is stood in for.
"""

import re
import time
from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from faults import share
from invariants import check_invariants
from quick_platform import HEARTBEAT, Kept, go_on, stop

from datacomp.messages import RunState, Stage
from datacomp_server.models import Attempt, AttemptState, Run, StoredFile

pytestmark = pytest.mark.faults
PATIENCE = 120.0
STAGES = (Stage.TRAIN, Stage.EVALUATE, Stage.SUBSET, Stage.TRAIN)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for something to be true; returns it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


def open_attempt(site: Any, submission: str, stage: Stage) -> Attempt | None:
    with site.platform.database() as database, database.read() as session:
        query = sa.select(Attempt).join(Run, Attempt.run_id == Run.id)
        query = query.where(Run.submission_id == submission, Run.stage == stage, Attempt.state == AttemptState.OPEN)
        return session.scalar(query.limit(1))


def traces(site: Any, attempt_id: str) -> list[Any]:
    """Everything that an attempt has left in the database."""
    with site.platform.database() as database, database.read() as session:
        attempt = session.get(Attempt, attempt_id)
        assert attempt is not None
        files = session.scalars(sa.select(StoredFile).where(StoredFile.attempt_id == attempt_id))
        usage = (attempt.seconds, attempt.cpu_seconds, attempt.device)
        row = (attempt.state, attempt.lease_until, attempt.ended_at, *usage)
        return [row, *sorted((file.name, file.digest, file.promoted) for file in files)]


def process_of(site: Any, worker: str) -> Kept:
    number = worker.removeprefix("quick-")
    (kept,) = [kept for kept in site.platform.of("worker") if kept.name == f"worker-{number}"]
    return kept


def refusals(site: Any, attempt_id: str) -> int:
    """How many requests about an attempt were refused because it is over."""
    pattern = re.compile(rf"/attempts/{attempt_id}/\S+ 409 ")
    return sum(len(pattern.findall(site.platform.log(kept.name))) for kept in site.platform.of("server"))


@pytest.mark.timeout(3000)
def test_a_worker_stopped_past_its_lease_writes_nothing_any_more(site: Any, summary: Callable[[str], None]) -> None:
    rounds, refused = share(50, least=2), 0
    for number in range(rounds):
        stage = STAGES[number % len(STAGES)]
        submission = site.platform.submit(10_000 + number)
        attempt = until(lambda s=submission, at=stage: open_attempt(site, s, at), f"{stage} was never claimed")
        stopped = process_of(site, attempt.worker)
        stop(stopped)
        try:
            if traces(site, attempt.id)[0][0] is not AttemptState.OPEN:
                continue  # it was done before it was stopped
            until(lambda a=attempt: traces(site, a.id)[0][0] is AttemptState.LOST, "the lease never ran out")
            before = traces(site, attempt.id)
        finally:
            go_on(stopped)
        site.platform.wait_until_final([submission], PATIENCE)
        until(lambda a=attempt: refusals(site, a.id), "the stopped worker never asked again")
        refused += refusals(site, attempt.id)
        assert traces(site, attempt.id) == before
        receipt = site.platform.receipt(submission)
        assert receipt.state == "scored"
    assert refused
    with site.platform.database() as database:
        found = check_invariants(database)
    summary(f"{rounds} workers stopped past their lease, {refused} late requests refused, none accepted; {found}")


@pytest.mark.timeout(600)
def test_cancelling_ends_the_training_child(site: Any, summary: Callable[[str], None]) -> None:
    taken = []
    for number in range(share(50, least=2)):
        submission = site.platform.submit(20_000 + number)
        until(lambda s=submission: open_attempt(site, s, Stage.TRAIN), "training never began")
        until(site.platform.training_children, "no training child")
        began = time.monotonic()
        assert site.platform.clients[0].cancel(submission).state == "cancelled"
        # Of both seeds: the other worker's may have been started meanwhile.
        until(lambda: not site.platform.training_children(), "a training child is left")
        taken.append(time.monotonic() - began)
        receipt = site.platform.receipt(submission)
        assert [run.state for run in receipt.runs][2:] == [RunState.CANCELLED] * 4
    summary(
        f"{len(taken)} trainings cancelled, child gone after at most {max(taken):.1f} s (heartbeat {HEARTBEAT:g} s)"
    )
