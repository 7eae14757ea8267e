"""Equal submissions at once: the work is done once, and everybody gets its outcome."""

from concurrent.futures import ThreadPoolExecutor

from server_site import Attempt, Site, uids

from datacomp.messages import RunState, Stage
from datacomp_server.runs.claiming import Claims


def claim_at_once(site: Site, count: int) -> list[Attempt]:
    with ThreadPoolExecutor(count) as pool:
        found = pool.map(lambda number: site.worker(f"worker-{number}").claim(), range(count))
        return [attempt for attempt in found if attempt is not None]


def test_two_equal_submissions_at_once_train_once(site: Site) -> None:
    content = uids(1)
    ids = [site.submit(name, content).id for name in ("ada", "grace", "linus")]
    stages = []
    while claimed := claim_at_once(site, 4):
        assert len(claimed) == 1, "the same work twice at once"
        stages.append(claimed[0].job.stage)
        assert claimed[0].finish(colours=6).status_code == 204
    assert stages == [Stage.VALIDATE, Stage.SUBSET, Stage.TRAIN, Stage.EVALUATE]
    receipts = [site.receipt(submission) for submission in ids]
    assert [receipt.state for receipt in receipts] == ["scored"] * 3
    assert receipts[0].score == receipts[1].score == receipts[2].score
    done = [run for receipt in receipts for run in receipt.runs if run.reused_from is None]
    assert len(done) == 4
    assert {run.reused_from for receipt in receipts for run in receipt.runs} == {None, *(run.id for run in done)}


def test_who_waits_for_equal_work_is_told_and_goes_on_when_that_fails(site: Site) -> None:
    content = uids(2)
    first, second = (site.submit(name, content).id for name in ("ada", "grace"))
    attempt = site.worker("a").must_claim()
    waits = second if attempt.job.submission == first else first
    assert site.worker("b").claim() is None
    assert "the same work is being done" in site.receipt(waits).runs[0].waiting_note
    assert site.act("organiser", attempt.job.submission, "cancel").status_code == 200
    taken = site.worker("b").must_claim()
    assert taken.job.submission == waits
    assert taken.finish().status_code == 204


def test_a_take_over_that_nobody_asked_for_is_made_by_the_dispatcher(site: Site) -> None:
    """A server may die between the end of a run and the take-over of its outputs."""
    content = uids(3)
    first, second = (site.submit(name, content).id for name in ("ada", "grace"))
    attempt = site.worker().must_claim()
    waits = second if attempt.job.submission == first else first
    claims = Claims(site.database, site.settings, site.storage)
    assert claims.take_over() == 0
    assert attempt.finish().status_code == 204
    assert site.receipt(waits).runs[0].state is RunState.DONE
    assert claims.take_over() == 0, "once is enough"
