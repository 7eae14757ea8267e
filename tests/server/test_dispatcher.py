"""The doorbell and the dispatcher, on the file broker and on Redis, with a real Celery worker at the other end."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy as sa
from server_site import ONLY_SQLITE, WORKER_TOKEN, Site, running, uids

from datacomp.messages import RunState
from datacomp.problems import PlatformFault
from datacomp_server.clock import now
from datacomp_server.models import Attempt, OutboxRow, Run
from datacomp_server.runs.dispatcher import Dispatcher
from datacomp_server.runs.doorbell import Doorbell
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import Submission


@contextmanager
def dispatching(site: Site) -> Iterator[Dispatcher]:
    with Doorbell(site.settings) as doorbell:
        yield Dispatcher(site.database, site.settings, site.storage, doorbell)


def outbox(site: Site) -> list[OutboxRow]:
    with site.database.read() as session:
        return list(session.scalars(sa.select(OutboxRow).order_by(OutboxRow.id)))


def backdate(site: Site, column: Any, seconds: float) -> None:
    with site.database.write() as session:
        session.execute(sa.update(column.class_).values({column.key: now() - timedelta(seconds=seconds)}))


def test_what_is_owed_is_rung_once(site: Site) -> None:
    site.submit("ada", uids(1))
    site.submit("grace", uids(2))
    assert [(row.queue, row.delivered_at) for row in outbox(site)] == [("cpu", None), ("cpu", None)]
    with dispatching(site) as dispatcher:
        assert dispatcher.deliver() == 2
        assert dispatcher.deliver() == 0
        assert dispatcher.doorbell.waiting("cpu") == 2
    assert all(row.delivered_at for row in outbox(site))


@ONLY_SQLITE
def test_a_ring_that_failed_stays_owed(site: Site) -> None:
    site.submit("ada", uids(1))

    class Broken(Doorbell):
        def ring(self, queue: str) -> None:
            raise PlatformFault.of("broker-unreachable", "away")

    dispatcher = Dispatcher(site.database, site.settings, site.storage, Broken(site.settings))
    with pytest.raises(PlatformFault, match="broker-unreachable"):
        dispatcher.deliver()
    assert [row.delivered_at for row in outbox(site)] == [None]


def test_rings_are_sent_again_after_the_brokers_folder_was_deleted(site: Site) -> None:
    site.submit("ada", uids(1))
    with dispatching(site) as dispatcher:
        dispatcher.deliver()
        shutil.rmtree(site.settings.data_dir / "broker")
        backdate(site, Run.queued_at, 60)
        with pytest.raises(PlatformFault, match="broker-unreachable"):
            dispatcher.ring_again()
        dispatcher._due.clear()
        assert dispatcher.ring_again() == ["cpu"]
        assert dispatcher.doorbell.waiting("cpu") == 1


@ONLY_SQLITE
def test_rings_are_sent_again_after_redis_forgot_them(make_settings: Callable[..., Settings], redis_url: str) -> None:
    with running(make_settings(broker_url=redis_url)) as site, dispatching(site) as dispatcher:
        site.submit("ada", uids(1))
        dispatcher.deliver()
        with redis.Redis.from_url(redis_url) as client:
            client.flushall()
        backdate(site, Run.queued_at, 60)
        assert dispatcher.ring_again() == ["cpu"]
        assert dispatcher.doorbell.waiting("cpu") == 1


def test_a_broker_that_is_away_keeps_no_other_duty_from_being_done(site: Site) -> None:
    receipt = site.submit("ada", uids(1))

    class Broken(Doorbell):
        def ring(self, queue: str) -> None:
            raise PlatformFault.of("broker-unreachable", "away")

    site.worker().must_claim()
    backdate(site, Attempt.lease_until, 1)
    dispatcher = Dispatcher(site.database, site.settings, site.storage, Broken(site.settings))
    with pytest.raises(PlatformFault, match="broker-unreachable"):
        dispatcher.step()
    assert site.receipt(receipt.id).runs[0].state is RunState.QUEUED


def test_two_dispatchers_at_once_send_what_is_owed(site: Site) -> None:
    for seed in range(8):
        site.submit("ada", uids(seed))
    barrier = threading.Barrier(2)

    def deliver() -> int:
        with dispatching(site) as dispatcher:
            barrier.wait()
            return dispatcher.deliver()

    with ThreadPoolExecutor(2) as pool:
        sent = sum(pool.map(lambda _: deliver(), range(2)))
    assert sent == 8, "each ring by one of them"
    assert all(row.delivered_at for row in outbox(site))


def test_a_lost_ring_is_rung_again_and_rings_do_not_pile_up(site: Site) -> None:
    site.submit("ada", uids(1))
    with dispatching(site) as dispatcher:
        dispatcher.deliver()
        assert dispatcher.ring_again() == [], "too early"
        for ring in (site.settings.data_dir / "broker" / "queue").iterdir():
            ring.unlink()
        backdate(site, Run.queued_at, 60)
        assert dispatcher.ring_again() == ["cpu"]
        assert dispatcher.doorbell.waiting("cpu") == 1
        dispatcher._due.clear()
        assert dispatcher.ring_again() == [], "one still lies there"


@ONLY_SQLITE
def test_claimed_runs_are_not_rung_for(site: Site) -> None:
    site.submit("ada", uids(1))
    site.worker().must_claim()
    backdate(site, Run.queued_at, 60)
    with dispatching(site) as dispatcher:
        assert dispatcher.ring_again() == []


def test_leases_run_out_without_any_worker_asking(site: Site) -> None:
    receipt = site.submit("ada", uids(1))
    site.worker().must_claim()
    backdate(site, Attempt.lease_until, 1)
    with dispatching(site) as dispatcher:
        dispatcher.step()
    run = site.receipt(receipt.id).runs[0]
    assert (run.state, run.worker) == (RunState.QUEUED, None)


def test_uploads_that_never_came_are_cancelled_and_refunded(site: Site) -> None:
    stale, sent = site.open("ada", uids(1)), site.submit("ada", uids(2))
    with dispatching(site) as dispatcher:
        assert dispatcher.cancel_stale_uploads() == 0
        backdate(site, Submission.created_at, site.settings.upload_seconds + 1)
        assert dispatcher.cancel_stale_uploads() == 1
    ended = site.receipt(stale.id)
    assert (ended.state, ended.quota_refunded) == ("cancelled", True)
    assert site.receipt(sent.id).state == "validating"


def test_old_rings_are_forgotten(site: Site) -> None:
    site.submit("ada", uids(1))
    with dispatching(site) as dispatcher:
        dispatcher.forget_delivered()
        assert len(outbox(site)) == 1
        dispatcher.deliver()
        backdate(site, OutboxRow.delivered_at, 7200)
        dispatcher.forget_delivered()
    assert outbox(site) == []


@ONLY_SQLITE
def test_the_loop_survives_a_broker_that_is_away(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(broker_url="redis://127.0.0.1:1/0", dispatch_seconds=0.01)) as site:
        site.submit("ada", uids(1))
        stop = threading.Event()
        with dispatching(site) as dispatcher:
            thread = threading.Thread(target=dispatcher.run, args=(stop,))
            thread.start()
            time.sleep(0.1)
            assert thread.is_alive()
            stop.set()
            thread.join(timeout=10)
        assert not thread.is_alive()
        assert [row.delivered_at for row in outbox(site)] == [None]


LISTENER = """
import sys
from pathlib import Path
from datacomp_worker.app import RING, make_app
from datacomp_worker.settings import WorkerSettings

heard = Path(sys.argv[1])
app = make_app(WorkerSettings())

def answer(queue):
    with heard.open("a") as file:
        file.write(queue + "\\n")

app.task(name=RING)(answer)
app.worker_main(["worker", "--pool=solo", "-Q", "cpu,gpu", "-n", "listener@%h", "--loglevel=WARNING",
                 "--without-gossip", "--without-mingle", "--without-heartbeat"])
"""


@ONLY_SQLITE
@pytest.mark.parametrize("broker", ["filesystem", "redis"])
def test_a_real_celery_worker_hears_the_ring(
    broker: str, make_settings: Callable[..., Settings], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("redis_url") if broker == "redis" else "filesystem://"
    heard = tmp_path / "heard"
    environment = {
        **os.environ,
        "DATACOMP_BROKER_URL": url,
        "DATACOMP_DATA_DIR": str(tmp_path),
        "DATACOMP_WORKER_TOKEN": WORKER_TOKEN,
    }
    worker = subprocess.Popen([sys.executable, "-c", LISTENER, str(heard)], env=environment, cwd=tmp_path)
    try:
        with running(make_settings(broker_url=url)) as site, dispatching(site) as dispatcher:
            site.submit("ada", uids(1))
            assert dispatcher.deliver() == 1
            dispatcher.doorbell.ring("gpu")
            deadline = time.monotonic() + 30
            while (not heard.exists() or heard.read_text().count("\n") < 2) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert sorted(heard.read_text().split()) == ["cpu", "gpu"]
            assert dispatcher.doorbell.waiting("cpu") == 0
    finally:
        worker.send_signal(signal.SIGKILL)
        worker.wait()
