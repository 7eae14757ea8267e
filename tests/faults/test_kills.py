"""kill -9 at random points of real trainings: nothing is lost, nothing counts twice, no transition is illegal.

Nothing is stood in for: it is the platform of `datacomp up`, its submissions are rehearsals. `test_many_kills.py` kills
ten times as often.
"""

import random
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from e2e_place import Place, running_place
from faults import HANDED_OVER_SECONDS, SEED, share
from invariants import check_invariants
from quick_platform import states

from datacomp.pool import Pool
from datacomp.problems import DatacompError
from datacomp.uids import write_subset
from datacomp_server.database import Database
from datacomp_server.submissions.states import FINAL

pytestmark = pytest.mark.faults
COUNT = share(10, least=5)
SUBMISSIONS = 4 + COUNT // 5


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory):
    with running_place(tmp_path_factory) as place:
        yield place


def submit(place: Place, number: int) -> str:
    """A rehearsal over a subset of its own, so that no run is taken over from another submission."""
    path = place.home / f"{number}.npy"
    write_subset(path, np.asarray(Pool.open(place.pool).sorted_uids)[number :: SUBMISSIONS + 1])
    while True:
        try:
            return place.client.submit(path, "filtering-tiny", method=f"kill {number}", rehearsal=True).id
        except DatacompError:  # the server may be dead just now; what was opened meanwhile stays `uploading`
            time.sleep(0.5)


def victims(place: Place) -> list[tuple[str, psutil.Process]]:
    """Every process of the platform: server, dispatcher, workers and their training children."""
    found = []
    for child in place.platform.supervisor.children:
        if child.process is None or not child.running:
            continue
        process = psutil.Process(child.process.pid)
        found.append((child.name.partition("-")[0], process))
        found += [("training", p) for p in process.children(recursive=True) if "training" in " ".join(p.cmdline())]
    return found


def kill_one(place: Place, rng: random.Random, killed: Counter[str]) -> None:
    try:
        name, process = rng.choice(victims(place))
        process.kill()
        killed[name] += 1
    except (psutil.Error, IndexError):
        return  # it ended by itself, or everything is being started


def all_final(database: Database, ids: list[str]) -> bool:
    return FINAL.issuperset(states(database, ids))


@pytest.mark.timeout(3600)
def test_random_kills_lose_nothing_and_count_nothing_twice(place: Place, summary: Callable[[str], None]) -> None:
    rng = random.Random(SEED)
    killed: Counter[str] = Counter()
    ids = [submit(place, number) for number in range(SUBMISSIONS)]
    database = Database(f"sqlite:///{place.platform.data_dir / 'datacomp.sqlite3'}")
    while killed.total() < COUNT and not all_final(database, ids):
        time.sleep(rng.uniform(0.2, 3.0))
        kill_one(place, rng, killed)
        print(f"{killed.total()} kills, {Counter(states(database, ids))}", flush=True)
    quiet = time.monotonic()
    while not all_final(database, ids):
        assert time.monotonic() - quiet < HANDED_OVER_SECONDS * 2, "a run was neither finished nor handed over"
        time.sleep(0.5)
    for submission in ids:
        receipt = place.client.submission(submission)
        # Too many kills of one run end it as our fault, with the quota given back; nothing is left hanging.
        assert receipt.state == "scored" or (receipt.state == "failed" and receipt.quota_refunded), receipt
    found = check_invariants(database)
    database.close()
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(killed.items()))
    summary(f"{killed.total()} kills ({kinds}), seed {SEED}, real trainings; {found}")
