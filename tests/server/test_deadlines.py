"""Every state that is not final has a deadline: runs that overrun it are handed on, or fail typed and refunded."""

from datetime import timedelta

import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, uids

from datacomp.messages import RunState, Stage
from datacomp_server.clock import now
from datacomp_server.models import Run
from datacomp_server.runs.claiming import Claims
from datacomp_server.runs.transitions import FINAL
from datacomp_server.settings import Settings


def make_due(site: Site, submission: str, stage: Stage) -> None:
    """Let a run's deadline be over."""
    with site.database.write() as session:
        of = (Run.submission_id == submission, Run.stage == stage)
        session.execute(sa.update(Run).where(*of).values(due_at=now() - timedelta(seconds=1)))


def claims(site: Site) -> Claims:
    return Claims(site.database, site.settings, site.storage)


def test_every_stage_has_a_setting_and_long_trainings_have_time() -> None:
    settings = Settings()
    assert all(settings.running_seconds(stage) > 0 for stage in Stage)
    assert settings.running_seconds(Stage.TRAIN) >= 14 * 86_400


@ONLY_SQLITE
def test_runs_have_a_deadline_until_they_are_final(site: Site) -> None:
    receipt = site.submit("ada", uids(1))
    assert all(run.due_at is not None for run in receipt.runs)
    attempt = site.worker().must_claim()
    running = site.receipt(receipt.id).runs[0]
    assert running.due_at is not None
    assert running.due_at <= now() + timedelta(seconds=site.settings.validate_seconds)
    assert attempt.finish().status_code == 204
    site.worker().work()
    assert all(run.due_at is None for run in site.receipt(receipt.id).runs)
    with site.database.read() as session:
        assert all((run.due_at is None) == (run.state in FINAL) for run in session.scalars(sa.select(Run)))


def test_a_run_that_nobody_takes_up_fails_as_our_fault_and_says_which_queue(site: Site) -> None:
    receipt = site.submit("ada", uids(2))
    assert claims(site).enforce_deadlines() == 0
    make_due(site, receipt.id, Stage.VALIDATE)
    assert claims(site).enforce_deadlines() == 1
    failed = site.receipt(receipt.id)
    assert (failed.state, failed.quota_refunded) == ("failed", True)
    assert failed.failure is not None
    (problem,) = failed.failure.problems
    assert (problem.code, problem.where) == ("queue-deadline", "queue cpu")
    assert "datacomp worker --queues cpu" in (problem.hint or "")
    assert [run.state.value for run in failed.runs] == ["failed", "cancelled", "cancelled", "cancelled"]
    assert claims(site).enforce_deadlines() == 0


def test_an_attempt_that_beats_for_ever_is_ended_and_the_run_handed_on(site: Site) -> None:
    receipt = site.submit("ada", uids(3))
    for number in range(1, site.settings.max_attempts + 1):
        attempt = site.worker(f"stuck-{number}").must_claim(Stage.VALIDATE)
        assert attempt.job.number == number
        make_due(site, receipt.id, Stage.VALIDATE)
        assert attempt.beat().status_code == 200, "its heart still beats"
        assert claims(site).enforce_deadlines() == 1
        assert attempt.beat().status_code == 409
        assert attempt.store("subset.npy", b"late").status_code == 409
    failed = site.receipt(receipt.id)
    assert (failed.state, failed.quota_refunded) == ("failed", True)
    assert failed.failure is not None
    assert failed.failure.problems[0].code == "stage-deadline"
    assert "DATACOMP_VALIDATE_SECONDS" in (failed.failure.problems[0].hint or "")


@ONLY_SQLITE
def test_a_waiting_run_goes_on_waiting_while_what_it_waits_for_is_under_way(site: Site) -> None:
    receipt = site.submit("ada", uids(4))
    make_due(site, receipt.id, Stage.TRAIN)
    assert claims(site).enforce_deadlines() == 1
    train = site.receipt(receipt.id).runs[2]
    assert train.state is RunState.WAITING
    assert train.due_at is not None
    assert train.due_at > now()


@ONLY_SQLITE
def test_a_waiting_run_that_was_forgotten_is_handed_over_late(site: Site) -> None:
    """It cannot happen: the hand-over is in the transaction that finishes the run before. If it does, it heals."""
    receipt = site.submit("ada", uids(5))
    assert site.worker().must_claim(Stage.VALIDATE).finish().status_code == 204
    with site.database.write() as session:
        table = Run.__table__  # past the model, which refuses such a step
        forgotten = sa.and_(table.c.submission_id == receipt.id, table.c.stage == "subset")
        session.execute(sa.update(table).where(forgotten).values(state="waiting"))
    assert site.worker().claim() is None
    make_due(site, receipt.id, Stage.SUBSET)
    assert claims(site).enforce_deadlines() == 1
    assert site.worker().work() == 3
    assert site.receipt(receipt.id).state == "scored"
