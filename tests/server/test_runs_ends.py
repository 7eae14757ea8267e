"""Runs that end otherwise than well: stale, late, failed, cancelled, and what that costs."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Attempt, Site, codes, uids

from datacomp.messages import RunState, Stage
from datacomp_server.clock import now
from datacomp_server.models import Attempt as AttemptRow
from datacomp_server.submissions.models import QuotaEntry, QuotaState


def run_out(attempt: Attempt) -> None:
    """Let an attempt's lease end now, instead of waiting for it."""
    with attempt.worker.site.database.write() as session:
        ended = sa.update(AttemptRow).where(AttemptRow.id == attempt.job.attempt).values(lease_until=now())
        session.execute(ended)


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
