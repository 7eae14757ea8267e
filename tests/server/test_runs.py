"""The life of runs, driven over HTTP as workers drive it."""

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Attempt, Site, codes, digest, records, running, uids, write_boards

from datacomp.messages import DedupMode, Heartbeat, Progress, RunState, Stage, SubmissionKind
from datacomp_server.clock import now
from datacomp_server.models import Attempt as AttemptRow
from datacomp_server.models import Run
from datacomp_server.runs.plan import plan_runs
from datacomp_server.settings import Settings
from datacomp_server.submissions.models import QuotaEntry, QuotaState

STAGES = [Stage.VALIDATE, Stage.SUBSET, Stage.TRAIN, Stage.EVALUATE]


def run_out(attempt: Attempt) -> None:
    """Let an attempt's lease end now, instead of waiting for it."""
    with attempt.worker.site.database.write() as session:
        ended = sa.update(AttemptRow).where(AttemptRow.id == attempt.job.attempt).values(lease_until=now())
        session.execute(ended)


def plan(
    kind: SubmissionKind, dedup: DedupMode = DedupMode.OFF, seeds: tuple[int, ...] = (0,), rehearsal: bool = False
):
    runs = plan_runs(kind, dedup=dedup, seeds=seeds, data_queue="cpu", train_queue="gpu", rehearsal=rehearsal)
    return [(run.stage.value, run.seed, run.queue, run.after) for run in runs]


def test_the_plan_of_uids_goes_straight_to_the_subset() -> None:
    assert plan(SubmissionKind.UIDS) == [
        ("validate", 0, "cpu", None),
        ("subset", 0, "cpu", 0),
        ("train", 0, "gpu", 1),
        ("evaluate", 0, "gpu", 2),
    ]


def test_the_plan_of_code_filters_deduplicates_and_trains_every_seed() -> None:
    assert plan(SubmissionKind.CODE, DedupMode.APPLY, (3, 7)) == [
        ("validate", 0, "cpu", None),
        ("filter", 0, "cpu", 0),
        ("dedup", 0, "cpu", 1),
        ("subset", 0, "cpu", 2),
        ("train", 3, "gpu", 3),
        ("evaluate", 3, "gpu", 4),
        ("train", 7, "gpu", 3),
        ("evaluate", 7, "gpu", 6),
    ]


def test_a_rehearsal_takes_one_seed_through_the_data_queue() -> None:
    assert plan(SubmissionKind.UIDS, seeds=(3, 7), rehearsal=True)[2:] == [
        ("train", 3, "cpu", 1),
        ("evaluate", 3, "cpu", 2),
    ]


def test_all_stages_to_a_score_that_the_server_computed(site: Site) -> None:
    content = uids(1)
    receipt = site.submit("ada", content)
    assert receipt.state == "validating"
    assert [run.stage for run in receipt.runs] == STAGES
    assert [run.state.value for run in receipt.runs] == ["queued", "waiting", "waiting", "waiting"]
    worker, states = site.worker(), []
    for stage in STAGES:
        attempt = worker.must_claim(stage)
        assert attempt.job.fence == attempt.job.number == 1
        running_now = site.receipt(receipt.id)
        states.append(running_now.state)
        deadline = running_now.runs[STAGES.index(stage)].deadline
        assert deadline is not None
        assert attempt.fetch("upload").content == content
        progress = {"done": 3, "total": 9, "unit": "rows", "values": {"loss": 2.5}}
        assert attempt.beat(progress=progress, log="hello\n").json() == {"cancel": False}
        live = site.receipt(receipt.id).runs[STAGES.index(stage)]
        assert live.progress is not None
        assert (live.progress.done, live.log_tail) == (3, "hello\n")
        assert live.deadline is not None
        assert live.deadline >= deadline
        assert attempt.finish(colours=6, shift=2).status_code == 204
    assert worker.claim() is None
    assert states == ["validating", "subsetting", "training", "evaluating"]
    final = site.receipt(receipt.id)
    assert (final.state, final.final, final.subset_size) == ("scored", True, 50)
    assert final.score is not None
    assert (final.score.average, final.score.main) == (0.5, 0.75)
    assert final.score.groups == {"main": 0.75, "shift": 0.25}
    assert {task.task: task.value for task in final.score.tasks} == {
        "mini/colours": 0.75, "mini/shift": 0.25, "mini/uncounted": 0.5,
    }  # fmt: skip


@ONLY_SQLITE
def test_stages_are_handed_the_outputs_and_results_before_them(site: Site) -> None:
    content = uids(2)
    site.submit("ada", content)
    evaluate = site.worker().work_until(Stage.EVALUATE)
    job = evaluate.job
    assert {file.name for file in job.inputs} == {"subset.npy", "checkpoint.pt"}
    for file in job.inputs:
        reply = evaluate.fetch(file.name)
        assert digest(reply.content) == file.digest
        assert len(reply.content) == file.size
    assert set(job.facts) == {Stage.VALIDATE, Stage.SUBSET, Stage.TRAIN}
    assert job.facts[Stage.SUBSET]["samples"] == 50
    assert evaluate.fetch("nothing").status_code == 404


@ONLY_SQLITE
def test_code_is_filtered_before_the_subset(site: Site) -> None:
    receipt = site.score("ada", b"print('a filter')", kind="code", filename="my_filter.py")
    assert [run.stage.value for run in receipt.runs] == ["validate", "filter", "subset", "train", "evaluate"]
    assert receipt.state == "scored"


@ONLY_SQLITE
def test_a_result_must_be_of_the_stage_the_scale_and_the_suite(site: Site) -> None:
    site.submit("ada", uids(3))
    worker = site.worker()
    validate = worker.must_claim(Stage.VALIDATE)
    result, _ = validate.output(4, None)
    assert codes(validate.post("finish", result=result, outputs=[])) == ["output-missing"]
    bogus = {"name": "subset.npy", "digest": digest(b"x"), "size": 1}
    assert codes(validate.post("finish", result=result, outputs=[bogus])) == ["output-not-stored"]
    assert validate.finish().status_code == 204
    train = worker.work_until(Stage.TRAIN)
    result, _ = train.output(4, None)
    assert codes(train.finish(result=result | {"scale_digest": "0" * 64})) == ["scale-differs"]
    wrong = {"stage": "evaluate", "tasks": 1, "records": 1, "seconds": 1, "suite_digest": "0" * 64}
    assert codes(train.finish(result=wrong)) == ["result-stage"]
    assert train.finish().status_code == 204
    evaluate = worker.must_claim(Stage.EVALUATE)
    result, _ = evaluate.output(4, None)
    assert codes(evaluate.finish(result=result | {"suite_digest": "0" * 64})) == ["suite-differs"]


@ONLY_SQLITE
def test_records_that_do_not_fit_the_suite_are_refused(site: Site) -> None:
    site.submit("ada", uids(4))
    evaluate = site.worker().work_until(Stage.EVALUATE)
    result, _ = evaluate.output(4, None)
    for content, code in ((b"not parquet", "records-unreadable"), (records(4)[:-20], "records-unreadable")):
        stored = evaluate.store("records.parquet", content).json()
        reply = evaluate.post("finish", result=result, outputs=[stored])
        assert reply.status_code == 422
        assert codes(reply) == [code]
    assert evaluate.finish().status_code == 204


def test_finishing_and_failing_twice_is_as_good_as_once(site: Site) -> None:
    receipt = site.submit("ada", uids(5))
    attempt = site.worker().must_claim()
    assert attempt.finish().status_code == 204
    result, _ = attempt.output(4, None)
    assert attempt.post("finish", result=result, outputs=[]).status_code == 204
    before = site.receipt(receipt.id)
    assert before.state == "subsetting"
    other = site.worker().must_claim()
    assert other.fail("participant").status_code == 204
    assert other.fail("participant").status_code == 204
    assert site.receipt(receipt.id).state == "failed"


def test_a_stale_fence_is_refused(site: Site) -> None:
    site.submit("ada", uids(6))
    attempt = site.worker().must_claim()
    attempt.job = attempt.job.model_copy(update={"fence": attempt.job.fence + 1})
    for reply in (attempt.beat(), attempt.store("subset.npy", b"x"), attempt.fail("platform")):
        assert reply.status_code == 409
        assert codes(reply) == ["attempt-fenced"]
    result, _ = attempt.output(4, None)
    assert attempt.post("finish", result=result, outputs=[]).status_code == 409


def test_a_run_whose_lease_ran_out_goes_to_another_worker(site: Site) -> None:
    receipt = site.submit("ada", uids(7))
    silent = site.worker("silent").must_claim()
    assert site.worker("eager").claim() is None
    run_out(silent)
    assert silent.store("subset.npy", b"late").status_code == 409, "refused even before anybody noticed"
    taken = site.worker("eager").must_claim()
    assert (taken.job.run, taken.job.fence, taken.job.number) == (silent.job.run, 2, 2)
    for reply in (silent.beat(), silent.store("subset.npy", b"late"), silent.fetch("upload"), silent.fail("platform")):
        assert reply.status_code == 409
    assert taken.finish().status_code == 204
    run = site.receipt(receipt.id).runs[0]
    assert (run.state, run.attempts, run.worker) == (RunState.DONE, 2, "eager")
    assert "attempt 2, on eager" in run.log_tail


@ONLY_SQLITE
def test_a_heartbeat_extends_the_lease(site: Site) -> None:
    receipt = site.submit("ada", uids(8))
    attempt = site.worker("steady").must_claim()
    with site.database.write() as session:
        session.execute(sa.update(AttemptRow).values(lease_until=now() + timedelta(seconds=2)))
    assert attempt.beat().status_code == 200
    deadline = site.receipt(receipt.id).runs[0].deadline
    assert deadline is not None
    assert deadline > now() + timedelta(seconds=site.settings.lease_seconds - 1)


def test_a_worker_that_keeps_falling_silent_ends_as_our_fault(site: Site) -> None:
    receipt = site.submit("ada", uids(27))
    for number in (1, 2, 3):
        attempt = site.worker(f"silent-{number}").must_claim(Stage.VALIDATE)
        assert attempt.job.number == number
        run_out(attempt)
    assert site.worker().claim() is None
    failed = site.receipt(receipt.id)
    assert (failed.state, failed.quota_refunded) == ("failed", True)
    assert failed.failure is not None
    assert failed.failure.problems[0].code == "lease-lost"


@ONLY_SQLITE
def test_training_goes_on_from_the_newest_checkpoint(site: Site) -> None:
    site.submit("ada", uids(9))
    first = site.worker("first").work_until(Stage.TRAIN)
    for epoch in (1, 2, 10):
        assert first.store(f"epoch_{epoch}.pt", f"epoch {epoch}".encode()).status_code == 200
    run_out(first)
    second = site.worker("second").must_claim(Stage.TRAIN)
    assert second.job.resume is not None
    assert second.job.resume.name == "epoch_10.pt"
    assert second.fetch("epoch_10.pt").content == b"epoch 10"


def quota_state(site: Site, submission: str) -> QuotaState:
    with site.database.read() as session:
        entry = session.get(QuotaEntry, submission)
        assert entry is not None
        return entry.state


def test_our_fault_is_tried_again_and_then_refunded(site: Site) -> None:
    receipt = site.submit("ada", uids(10))
    for number in (1, 2):
        attempt = site.worker(f"worker-{number}").must_claim(Stage.VALIDATE)
        assert attempt.job.number == number
        assert attempt.fail("platform").status_code == 204
        assert site.receipt(receipt.id).state == "validating"
    assert site.worker().must_claim().fail("platform", "disk-full").status_code == 204
    assert site.worker().claim() is None
    failed = site.receipt(receipt.id)
    assert (failed.state, failed.quota_refunded) == ("failed", True)
    assert failed.failure is not None
    assert failed.failure.problems[0].code == "disk-full"
    assert failed.failure.log_tail == "the tail"
    assert [run.state.value for run in failed.runs] == ["failed", "cancelled", "cancelled", "cancelled"]


@pytest.mark.parametrize(("stage", "state"), [(Stage.VALIDATE, "rejected"), (Stage.SUBSET, "failed")])
def test_a_participants_fault_ends_the_submission_at_once_and_is_charged(site: Site, stage: Stage, state: str) -> None:
    receipt = site.submit("ada", uids(11))
    assert site.worker().work_until(stage).fail("participant", "uids-unsorted").status_code == 204
    assert site.worker().claim() is None
    ended = site.receipt(receipt.id)
    assert (ended.state, ended.quota_refunded) == (state, False)
    assert quota_state(site, receipt.id) is QuotaState.CHARGED


def test_cancelling_asks_the_worker_to_stop(site: Site) -> None:
    receipt = site.submit("ada", uids(12))
    attempt = site.worker().must_claim()
    assert site.act("ada", receipt.id, "cancel").json()["state"] == "cancelled"
    assert attempt.beat().json() == {"cancel": True}
    assert attempt.store("subset.npy", b"x").status_code == 409
    assert attempt.fail("platform").status_code == 409
    assert site.worker().claim() is None
    assert quota_state(site, receipt.id) is QuotaState.CHARGED
    assert site.act("ada", receipt.id, "cancel").status_code == 200


@ONLY_SQLITE
def test_cancelling_before_any_work_gives_the_quota_back(site: Site) -> None:
    receipt = site.submit("ada", uids(13))
    assert site.act("ada", receipt.id, "cancel").json()["quota_refunded"] is True
    assert quota_state(site, receipt.id) is QuotaState.REFUNDED
    assert site.worker().claim() is None


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
