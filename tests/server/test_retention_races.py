"""A file's time is up while a run is about to take it over: one of them goes first, and the other one knows it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from server_site import Attempt, Site, uids

from datacomp.messages import CHECKPOINT_FILE, RunState, Stage
from datacomp_server.clock import now
from datacomp_server.database import is_postgresql
from datacomp_server.operation.retention import sweep_files
from datacomp_server.runs.lifecycle import Lifecycle
from datacomp_server.storage import Storage
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import SubmissionRepository

PATIENCE = 30


@pytest.fixture
def old(site: Site) -> StoredFile:
    """A final checkpoint whose time is up."""
    first = site.score("ada", uids(1))
    site.settings.keep_checkpoints_days = 30
    with site.database.write() as session:
        past = sa.update(Submission).where(Submission.id == first.id)
        session.execute(past.values(finished_at=now() - timedelta(days=31)))
        return session.scalars(sa.select(StoredFile).where(StoredFile.name == CHECKPOINT_FILE)).one()


def before_training(site: Site) -> Attempt:
    """The same subset again, made by another way: its subset stage runs, and at the end of that its training is taken
    over."""
    with site.database.write() as session:
        session.execute(sa.text("update runs set input_digest = null where stage = 'subset'"))
    again = site.submit("grace", uids(1))
    attempt = site.worker().must_claim(Stage.SUBSET)
    assert attempt.job.submission == again.id
    return attempt


def training_of(site: Site, submission: str) -> Any:
    return next(run for run in site.receipt(submission).runs if run.stage is Stage.TRAIN)


def test_a_take_over_that_is_under_way_keeps_the_file(
    site: Site, old: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = before_training(site)
    taken, go_on = threading.Event(), threading.Event()
    move = Lifecycle._move

    def wait_after(self: Lifecycle, submission: Any, run: Any, after: RunState, actor: str, reason: str) -> None:
        move(self, submission, run, after, actor, reason)
        if "taken over" in reason and run.stage is Stage.TRAIN:
            taken.set()
            assert go_on.wait(PATIENCE)

    monkeypatch.setattr(Lifecycle, "_move", wait_after)
    with ThreadPoolExecutor(2) as pool:
        finished = pool.submit(attempt.finish)
        assert taken.wait(PATIENCE)
        swept = pool.submit(sweep_files, site.database, site.settings, site.storage)
        if not site.database.is_sqlite:
            assert swept.result(PATIENCE) == 0, "not waited for, and not deleted"
        go_on.set()
        assert finished.result(PATIENCE).status_code == 204
        assert swept.result(PATIENCE) == 0
    assert training_of(site, attempt.job.submission).state is RunState.DONE
    assert site.storage.exists(old.key)
    assert sweep_files(site.database, site.settings, site.storage) == 0, "a younger submission stands on it"


def test_a_file_that_is_being_deleted_is_not_taken_over(
    site: Site, old: StoredFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = before_training(site)
    deleting, go_on = threading.Event(), threading.Event()
    delete = Storage.delete

    def wait_before(self: Storage, key: str) -> None:
        deleting.set()
        assert go_on.wait(PATIENCE)
        delete(self, key)

    monkeypatch.setattr(Storage, "delete", wait_before)
    with ThreadPoolExecutor(2) as pool:
        swept = pool.submit(sweep_files, site.database, site.settings, site.storage)
        assert deleting.wait(PATIENCE)
        finished = pool.submit(attempt.finish)
        assert not finished_within(finished, 0.5), "decided while the file was on its way out"
        go_on.set()
        assert (swept.result(PATIENCE), finished.result(PATIENCE).status_code) == (1, 204)
    run = training_of(site, attempt.job.submission)
    assert (run.state, run.reused_from) == (RunState.QUEUED, None), "it is trained anew"
    site.worker().work()
    assert site.receipt(attempt.job.submission).state == "scored"


def finished_within(future: Any, seconds: float) -> bool:
    try:
        future.result(seconds)
    except TimeoutError:
        return False
    return True


def test_take_overs_of_one_file_do_not_wait_for_each_other(site: Site, old: StoredFile) -> None:
    """Only shared locks are held, so that two equal submissions cannot wait for each other in a ring."""
    with site.database.write() as one:
        run = one.get_one(StoredFile, old.id).run_id
        assert run is not None
        assert SubmissionRepository(one).hold_promoted(run)
        if is_postgresql(one):
            with site.database.write() as other:
                other.execute(sa.text("set local lock_timeout = '2s'"))
                assert SubmissionRepository(other).hold_promoted(run)
