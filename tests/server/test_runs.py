"""The life of runs, driven over HTTP as workers drive it."""

from server_site import ONLY_SQLITE, Site, codes, digest, records, uids

from datacomp.messages import DedupMode, Stage, SubmissionKind
from datacomp_server.runs.plan import plan_runs

STAGES = [Stage.VALIDATE, Stage.SUBSET, Stage.TRAIN, Stage.EVALUATE]


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
