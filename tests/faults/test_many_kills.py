"""kill -9 of everything, hundreds of times, and what else may happen to a whole platform of real processes.

Real: servers, dispatchers, workers, their protocol, validation, subset shards, the supervision of training children,
checkpoints, storage, database and broker. Stood in for: the training child's program and the evaluation, so that a
submission takes seconds (`quick_child`, `quick_evaluate`). `test_kills.py` kills real trainings.
"""

import contextlib
import random
import shutil
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from faults import COUNT, HANDED_OVER_SECONDS, SEED
from invariants import check_invariants
from quick_child import final_digest
from quick_platform import LEASE

from datacomp.digests import digest_json
from datacomp.messages import Stage, SubmissionOut, SubsetResult, TrainResult
from datacomp.scales import get_scale

pytestmark = pytest.mark.faults
UNDER_WAY = 4
"""Submissions under way while processes are killed."""


def kill_something(site: Any, rng: random.Random, killed: Counter[str]) -> None:
    """One of: a server, a worker, a dispatcher, a training child, the broker, the database."""
    kinds = ["server", "worker", "worker", "dispatcher", "training", "training", "training", "broker"]
    kind = rng.choice([*kinds, "database"] if site.postgres else kinds)
    with contextlib.suppress(psutil.Error, IndexError):  # it ended by itself, or is being started
        match kind:
            case "training":
                rng.choice(site.platform.training_children()).kill()
            case "broker" if site.redis:
                site.redis.restart()
            case "broker":
                shutil.rmtree(site.platform.broker, ignore_errors=True)
            case "database":
                site.postgres.restart()
            case _:
                psutil.Process(rng.choice(site.platform.of(kind)).pid).kill()
        killed[kind] += 1


@pytest.mark.timeout(3600)
def test_random_kills_lose_nothing_and_count_nothing_twice(site: Any, summary: Callable[[str], None]) -> None:
    rng = random.Random(SEED)
    killed: Counter[str] = Counter()
    ids: list[str] = []
    began = time.monotonic()
    while killed.total() < COUNT:
        if sum(not final(site, submission) for submission in ids[-UNDER_WAY:]) < UNDER_WAY:
            ids.append(site.platform.submit(len(ids) + 1))
        time.sleep(rng.uniform(0.1, 1.0))
        kill_something(site, rng, killed)
    last = time.monotonic()
    site.platform.wait_until_final(ids, 3 * HANDED_OVER_SECONDS)
    quiet = time.monotonic() - last
    for submission in ids:
        receipt = site.platform.receipt(submission)
        assert receipt is not None
        assert receipt.state == "scored", receipt.failure
        check_weights(receipt)
    with site.platform.database() as database:
        found = check_invariants(database)
    assert found.handed_on_within + LEASE < HANDED_OVER_SECONDS
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(killed.items()))
    seconds = time.monotonic() - began
    summary(
        f"{killed.total()} kills ({kinds}), seed {SEED}, {seconds:.0f} s; {found}; "
        f"everything scored {quiet:.0f} s after the last kill"
    )


def final(site: Any, submission: str) -> bool:
    receipt = site.platform.receipt(submission)
    return receipt is not None and receipt.final


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
