"""kill -9 of everything, hundreds of times, and what else may happen to a whole platform of real processes.

Real: servers, dispatchers, workers, their protocol, validation, subset shards, the supervision of training children,
checkpoints, storage, database and broker. Stood in for: the training child's program and the evaluation, so that a
submission takes seconds (`quick_child`, `quick_evaluate`). `test_kills.py` kills real trainings.
"""

import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from faults import COUNT, HANDED_OVER_SECONDS, SEED
from invariants import check_invariants, hand_overs
from quick_child import final_digest
from quick_platform import LEASE, states

from datacomp.digests import digest_json
from datacomp.messages import Stage, SubmissionOut, SubsetResult, TrainResult
from datacomp.scales import get_scale
from datacomp_server.submissions.states import FINAL

pytestmark = pytest.mark.faults
UNDER_WAY = 4
"""Submissions under way while processes are killed."""
PACE = (0.2, 1.8)
"""Seconds between two kills, at least and at most: what is killed had time to get to work."""
TOLD_EVERY = 20


@dataclass
class Feed:
    """Keeps `UNDER_WAY` submissions under way beside the kills, which do not wait for it."""

    site: Any
    ids: list[str] = field(default_factory=list)
    enough: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end(self) -> list[str]:
        """No more of them; returns all that were acknowledged."""
        assert self._thread is not None
        self.enough.set()
        self._thread.join(HANDED_OVER_SECONDS)
        assert not self._thread.is_alive(), "a submission is not taken although nothing is killed any more"
        return self.ids

    def _run(self) -> None:
        with self.site.platform.database() as database:
            while not self.enough.wait(0.1):
                if sum(state not in FINAL for state in states(database, self.ids)) < UNDER_WAY:
                    self.ids.append(self.site.platform.submit(len(self.ids) + 1))


def kill_something(site: Any, rng: random.Random, killed: Counter[str]) -> bool:
    """One of: a server, a worker, a dispatcher, a training child, the broker, the database. Whether it was there."""
    kinds = ["server", "worker", "worker", "dispatcher", "training", "training", "training", "broker"]
    kind = rng.choice([*kinds, "database"] if site.postgres else kinds)
    match kind:
        case "broker" if site.redis:
            site.redis.restart()
        case "broker":
            shutil.rmtree(site.platform.broker, ignore_errors=True)
        case "database":
            site.postgres.restart()
        case _:
            if not site.platform.kill(kind, rng):
                return False
    killed[kind] += 1
    return True


def told(killed: Counter[str]) -> str:
    return f"{killed.total()} kills ({', '.join(f'{kind} {count}' for kind, count in sorted(killed.items()))})"


def tell(site: Any, killed: Counter[str], ids: list[str], seconds: float) -> None:
    """How far it is, at once: a run that is cut off has told what it did."""
    with site.platform.database() as database:
        counts = Counter(states(database, list(ids)))
        lost, handed_on, taken_up = hand_overs(database)
    print(
        f"after {seconds:.0f} s: {told(killed)}; {counts.total()} submissions ({counts['scored']} scored); "
        f"{lost} attempts lost; after the last heartbeat handed on within {handed_on + LEASE:.1f} s, "
        f"next attempt within {taken_up + LEASE:.1f} s",
        flush=True,
    )


@pytest.mark.timeout(3600)
def test_random_kills_lose_nothing_and_count_nothing_twice(site: Any, summary: Callable[[str], None]) -> None:
    rng = random.Random(SEED)
    killed: Counter[str] = Counter()
    began = time.monotonic()
    feed = Feed(site)
    feed.start()
    while killed.total() < COUNT:
        time.sleep(rng.uniform(*PACE))
        if kill_something(site, rng, killed) and killed.total() % TOLD_EVERY == 0:
            tell(site, killed, feed.ids, time.monotonic() - began)
    last = time.monotonic()
    ids = feed.end()
    site.platform.wait_until_final(ids, 3 * HANDED_OVER_SECONDS)
    quiet = time.monotonic() - last
    tell(site, killed, ids, time.monotonic() - began)
    for submission in ids:
        receipt = site.platform.receipt(submission)
        assert receipt is not None
        assert receipt.state == "scored", receipt.failure
        check_weights(receipt)
    with site.platform.database() as database:
        found = check_invariants(database)
    assert max(found.handed_on_within, found.taken_up_within) + LEASE < HANDED_OVER_SECONDS
    seconds = time.monotonic() - began
    summary(
        f"{told(killed)}, seed {SEED}, {seconds:.0f} s; {found}; everything scored {quiet:.0f} s after the last kill"
    )


def check_weights(receipt: SubmissionOut) -> None:
    """Trainings that were killed and resumed, however often, ended with the weights of unbroken ones."""
    facts = {(run.stage, run.seed): run.result for run in receipt.runs}
    scale = get_scale("tiny")
    subset = SubsetResult.model_validate(facts[Stage.SUBSET, 0])
    for (stage, seed), result in facts.items():
        if stage is Stage.TRAIN:
            trained = TrainResult.model_validate(result)
            identity = digest_json([scale.digest, trained.recipe_digest, seed, subset.subset_digest])
            assert trained.weights_digest == final_digest(identity, scale.checkpoints)
            assert trained.subset_digest == subset.subset_digest
