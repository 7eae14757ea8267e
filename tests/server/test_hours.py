"""GPU and processor hours: of every attempt, lost ones too, on the receipt and in the organisers' account."""

import re
from datetime import timedelta

import pytest
import sqlalchemy as sa
from server_site import ONLY_SQLITE, Site, uids
from typer.testing import CliRunner

from datacomp.messages import Stage
from datacomp_server.cli import admin
from datacomp_server.clock import now
from datacomp_server.models import Attempt, Submission, Team
from datacomp_server.runs.hours import GroupBy, HoursRepository

GPUS = {"device": "cuda", "count": 4, "cpu_seconds": 7200.0}
CPU = {"device": "cpu", "count": 2, "seconds": 10.0, "cpu_seconds": 360.0}


def backdate(site: Site, attempt: str, seconds: float) -> None:
    """Let an attempt have begun earlier."""
    with site.database.write() as session:
        began = now() - timedelta(seconds=seconds)
        session.execute(sa.update(Attempt).where(Attempt.id == attempt).values(started_at=began))


def train_with_a_lost_attempt(site: Site, content: bytes, name: str = "ada") -> str:
    """A submission whose training was lost once after half an hour on 4 GPUs, and then took an hour."""
    receipt = site.submit(name, content)
    worker = site.worker()
    lost = worker.work_until(Stage.TRAIN)
    backdate(site, lost.job.attempt, 4000)
    assert lost.beat(usage=GPUS | {"seconds": 1800.0}).status_code == 200
    with site.database.write() as session:
        session.execute(sa.update(Attempt).where(Attempt.id == lost.job.attempt).values(lease_until=now()))
    again = worker.must_claim(Stage.TRAIN)
    backdate(site, again.job.attempt, 4000)
    assert again.finish(usage=GPUS | {"seconds": 3600.0}).status_code == 204
    assert worker.must_claim(Stage.EVALUATE).finish(usage=CPU).status_code == 204
    return receipt.id


def test_lost_attempts_count_too(site: Site) -> None:
    receipt = site.receipt(train_with_a_lost_attempt(site, uids(1)))
    train, evaluate = receipt.runs[2:]
    assert (train.gpu_hours, train.cpu_hours) == (pytest.approx(6), pytest.approx(4))
    assert (evaluate.gpu_hours, evaluate.cpu_hours) == (0, pytest.approx(0.1))
    assert (receipt.gpu_hours, receipt.cpu_hours) == (pytest.approx(6), pytest.approx(4.1))


def test_work_that_was_taken_over_costs_nothing(site: Site) -> None:
    content = uids(2)
    train_with_a_lost_attempt(site, content)
    again = site.submit("grace", content)
    assert again.state == "scored"
    assert (again.gpu_hours, again.cpu_hours) == (0, 0)


@ONLY_SQLITE
def test_figures_only_grow_and_never_exceed_the_attempts_age(site: Site) -> None:
    site.submit("ada", uids(3))
    attempt = site.worker().must_claim()
    assert attempt.beat(usage=CPU | {"cpu_seconds": 5.0, "seconds": 1e6}).status_code == 200
    assert attempt.beat(usage=CPU | {"cpu_seconds": 1.0, "seconds": 0.0}).status_code == 200
    with site.database.read() as session:
        row = session.get(Attempt, attempt.job.attempt)
        assert row is not None
        assert row.cpu_seconds == 5.0
        assert 0 < row.seconds < 60
    for wrong in ({"cpu_seconds": -1}, {"device": "tpu"}, {"count": -1}):
        assert attempt.beat(usage=CPU | wrong).status_code == 422


def test_the_account_sums_by_everything(site: Site) -> None:
    ada, grace = train_with_a_lost_attempt(site, uids(4)), train_with_a_lost_attempt(site, uids(5), "grace")
    with site.database.write() as session:
        team = Team(name="two", name_key="two")
        session.add(team)
        session.flush()
        session.execute(sa.update(Submission).where(Submission.id == ada).values(team_id=team.id))
    with site.database.read() as session:
        hours = HoursRepository(session)
        (board,) = hours.lines(GroupBy.BOARD)
        assert (board.name, board.hours.gpu, board.attempts, board.lost) == ("small-board", pytest.approx(12), 10, 2)
        for by, names in (
            (GroupBy.PARTICIPANT, {"ada", "grace"}),
            (GroupBy.TEAM, {"two", "grace"}),
            (GroupBy.SUBMISSION, {ada, grace}),
            (GroupBy.WORKER, {"worker-1"}),
        ):
            lines = hours.lines(by)
            assert {line.name for line in lines} == names
            assert sum(line.hours.gpu for line in lines) == pytest.approx(12)
        stages = {line.name: line.hours for line in hours.lines(GroupBy.STAGE)}
        assert stages["train"].gpu == pytest.approx(12)
        assert stages["evaluate"].gpu == 0
        assert hours.lines(GroupBy.BOARD, since=now()) == []


@ONLY_SQLITE
def test_the_organisers_commands(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    submission = train_with_a_lost_attempt(site, uids(6))
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(site.settings.data_dir))
    monkeypatch.setenv("COLUMNS", "120")
    shown = CliRunner().invoke(admin, ["hours", "--by", "participant"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"ada .*6\.000 .*4\.100 .*5 .*1", shown.output), shown.output
    assert CliRunner().invoke(admin, ["priority", submission, "3"]).exit_code == 0
    assert CliRunner().invoke(admin, ["priority", "nobody", "3"]).exit_code != 0
