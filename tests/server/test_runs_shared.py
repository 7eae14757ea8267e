"""Runs of several seeds, several people and several workers: what is taken over, who is served when."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import sqlalchemy as sa
from server_site import ONLY_SQLITE, Attempt, Site, running, uids, write_boards

from datacomp.messages import Heartbeat, Progress, Stage
from datacomp_server.models import Run
from datacomp_server.settings import Settings


def test_finished_work_with_the_same_inputs_is_taken_over(site: Site) -> None:
    content = uids(14)
    first = site.score("ada", content, colours=7)
    again = site.submit("grace", content)
    assert site.worker().claim() is None, "nothing was left to do"
    assert again.state == "scored"
    assert [run.reused_from for run in again.runs] == [run.id for run in first.runs]
    assert again.score == first.score
    assert again.subset_size == first.subset_size
    third = site.submit("linus", content)
    assert [run.reused_from for run in third.runs] == [run.id for run in first.runs]


@ONLY_SQLITE
def test_other_inputs_are_worked_on(site: Site) -> None:
    site.score("ada", uids(15))
    other = site.submit("grace", uids(16))
    assert other.state == "validating"
    assert site.worker().work() == 4


@ONLY_SQLITE
def test_outputs_that_are_gone_are_made_again(site: Site) -> None:
    content = uids(17)
    site.score("ada", content)
    worker = site.worker()
    with site.database.read() as session:
        run = session.scalars(sa.select(Run).where(Run.stage == Stage.VALIDATE)).one()
    for file in (site.settings.data_dir / "storage" / "runs" / run.id).rglob("subset.npy"):
        file.unlink()
    assert site.submit("grace", content).state == "validating"
    assert worker.must_claim(Stage.VALIDATE).finish().status_code == 204
    # What follows had the same inputs, and its outputs are still there.
    assert worker.claim() is None


def test_several_seeds_are_averaged(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings()
    text = settings.boards_file.read_text().replace('pool = "tiny"', 'pool = "tiny"\nseeds = [3, 7]')
    write_boards(settings.data_dir, text)
    with running(settings) as site:
        receipt = site.submit("ada", uids(18))
        worker, states = site.worker(), set()
        while (attempt := worker.claim()) is not None:
            states.add(site.receipt(receipt.id).state)
            colours = {3: 2, 7: 6}.get(attempt.job.seed, 0)
            assert attempt.finish(colours=colours).status_code == 204
        assert {"training 1 of 2", "training 2 of 2", "evaluating 1 of 2"} & states >= {"training 1 of 2"}
        scored = site.receipt(receipt.id)
        assert scored.score is not None
        assert (scored.score.average, scored.score.seeds) == (0.5, 2)


@ONLY_SQLITE
def test_a_rehearsal_is_scored_and_never_ranked(site: Site) -> None:
    receipt = site.score("ada", uids(19), rehearsal=True)
    assert (receipt.state, receipt.final, receipt.rehearsal) == ("scored", True, True)
    assert site.board().rows == []


def test_participants_are_served_in_turn(site: Site) -> None:
    for seed in (20, 21):
        site.submit("ada", uids(seed))
    mine = site.submit("grace", uids(22))
    first, second = site.worker("a").must_claim(), site.worker("b").must_claim()
    assert first.job.submission != mine.id
    assert second.job.submission == mine.id


def test_the_queue_says_positions_and_who_serves(site: Site) -> None:
    receipt = site.submit("ada", uids(23))
    assert receipt.runs[0].waiting_note == "no worker serves queue cpu"
    site.submit("ada", uids(24))
    hello = {"worker": "idle", "queues": ["cpu"]}
    assert site.http.post("/api/worker/hello", json=hello, headers=site.headers("worker")).status_code == 204
    assert site.receipt(receipt.id).runs[0].waiting_note == "position 1 of 2 in queue cpu"
    queue = site.http.get("/api/queue").json()
    (lane,) = queue["queues"]
    assert (lane["name"], lane["live_workers"], [run["position"] for run in lane["runs"]]) == ("cpu", 1, [1, 2])
    assert [worker["name"] for worker in queue["workers"]] == ["idle"]


@ONLY_SQLITE
def test_figures_that_json_cannot_carry_are_left_out(site: Site) -> None:
    receipt = site.submit("ada", uids(25))
    attempt = site.worker().must_claim()
    body = '{"fence": 1, "progress": {"done": 1, "unit": "rows", "rate": Infinity, "values": {"loss": NaN, "ok": 1}}}'
    reply = site.http.post(f"{attempt.path}/heartbeat", content=body, headers=attempt.worker.json_headers)
    assert reply.status_code == 200
    progress = site.receipt(receipt.id).runs[0].progress
    assert progress is not None
    assert (progress.values, progress.rate) == ({"ok": 1}, None)
    diverged = Heartbeat(fence=1, progress=Progress(done=1, unit="steps", values={"loss": math.nan}))
    body = diverged.model_dump_json()
    reply = site.http.post(f"{attempt.path}/heartbeat", content=body, headers=attempt.worker.json_headers)
    assert reply.status_code == 200, "a loss that is not a number must not cost the run its lease"


def test_a_log_keeps_its_tail(site: Site) -> None:
    receipt = site.submit("ada", uids(26))
    attempt = site.worker().must_claim()
    body = '{"fence": 1, "log": "%sthe end\\u0000 of it"}' % ("x" * 70_000)
    reply = site.http.post(f"{attempt.path}/heartbeat", content=body, headers=attempt.worker.json_headers)
    assert reply.status_code == 200
    tail = site.receipt(receipt.id).runs[0].log_tail
    assert len(tail.encode()) <= site.settings.log_tail_bytes
    assert "the end" in tail


def test_one_run_is_claimed_by_one_of_many_workers(site: Site) -> None:
    site.submit("ada", uids(28))
    barrier = threading.Barrier(8)

    def claim(number: int) -> Attempt | None:
        barrier.wait()
        return site.worker(f"worker-{number}").claim()

    with ThreadPoolExecutor(8) as pool:
        claimed = [attempt for attempt in pool.map(claim, range(8)) if attempt is not None]
    assert [(attempt.job.stage, attempt.job.fence) for attempt in claimed] == [(Stage.VALIDATE, 1)]
