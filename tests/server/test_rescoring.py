"""A board's stored records scored again: looked at, then applied with its traces; refused when records are gone."""

import copy
import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from mini_suite import SUITE
from server_site import ONLY_SQLITE, Site, uids
from typer.testing import CliRunner

from datacomp.messages import Stage
from datacomp.problems import BadInput
from datacomp.suite import Suite
from datacomp_server.audit.models import AuditLine
from datacomp_server.audit.service import CONSOLE
from datacomp_server.errors import Conflict
from datacomp_server.leaderboard.models import RankChange, Score, SeedScore
from datacomp_server.leaderboard.rescoring import Plan, apply_rescoring, plan_rescoring
from datacomp_server.submissions.models import Event


def second_suite() -> Suite:
    """The same items; the headline task is what was shifted, and the uncounted task counts."""
    changed = copy.deepcopy(SUITE)
    changed["version"] = "2"
    changed["tasks"][0]["counted"] = False
    changed["tasks"][2]["counted"] = True
    return Suite.model_validate(changed)


def plan(site: Site, suite: Suite | None = None) -> Plan:
    return plan_rescoring(site.database, site.storage, "small-board", suite, lambda *_: None)


def apply(site: Site, planned: Plan) -> int:
    return apply_rescoring(site.database, site.settings, planned, actor=CONSOLE, report=lambda *_: None)


def ranks(site: Site) -> list[tuple[str, float | None]]:
    return [(row.submission or "", row.score) for row in site.board().rows]


def test_differences_are_shown_first_and_then_applied_with_their_traces(site: Site) -> None:
    up, down = site.score("ada", uids(1), colours=2, shift=8), site.score("grace", uids(2), colours=8, shift=3)
    tried = site.score("ada", uids(3), rehearsal=True)
    before = ranks(site)
    assert before == [(down.id, 0.6875), (up.id, 0.625)]
    assert plan(site).differing == ()

    planned = plan(site, second_suite())
    assert ranks(site) == before, "a plan writes nothing"
    told = {change.submission: change for change in planned.changes}
    assert (told[up.id].before.rank, told[up.id].after.rank, told[up.id].after.average) == (2, 1, 0.75)
    assert (told[down.id].before.rank, told[down.id].after.rank, told[down.id].after.average) == (1, 2, 0.4375)
    assert (told[tried.id].before.rank, told[tried.id].after.rank, told[tried.id].fresh) == (None, None, True)

    assert apply(site, planned) == 3
    assert ranks(site) == [(up.id, 0.75), (down.id, 0.4375)]
    assert site.board().suite == "mini@2"
    assert site.receipt(up.id).state == "scored"
    manifest = site.http.get(f"/api/submissions/{up.id}/manifest").json()["body"]
    assert manifest["board"]["suite"] == {"name": "mini@2", "digest": second_suite().digest}
    assert manifest["digests"]["suite"] == manifest["scores"]["seeds"][0]["suite_digest"] == second_suite().digest
    with site.database.read() as session:
        reasons = session.scalars(sa.select(Event.reason).where(Event.submission_id == up.id).order_by(Event.id)).all()
        acts = session.scalars(sa.select(AuditLine.what).where(AuditLine.what.contains("rescored"))).all()
        swept = session.scalars(sa.select(RankChange).where(RankChange.board_name == "small-board")).all()
    assert reasons[-1] == "scored again under mini@2: average 0.62500 -> 0.75000"
    assert sorted(acts) == ["board-rescored", *["submission-rescored"] * 3]
    assert swept
    assert plan(site, second_suite()).differing == (), "what is done is not done again"
    assert plan(site).suite.id == "mini@2"


@ONLY_SQLITE
def test_runs_whose_records_are_gone_or_do_not_fit_are_named_and_nothing_is_written(site: Site) -> None:
    first, second = site.score("ada", uids(1)), site.score("grace", uids(2))
    before = ranks(site)
    fewer = second_suite().model_copy(update={"tasks": second_suite().tasks[:2]})
    with pytest.raises(BadInput, match="records-task-unknown") as unfit:
        plan(site, fewer)
    assert len(unfit.value.problems) == 2
    runs = {run.id for sub in (first, second) for run in site.receipt(sub.id).runs if run.stage is Stage.EVALUATE}
    for run in runs:
        for path in Path(site.settings.data_dir).rglob(f"*{run}*/**/records.parquet"):
            path.unlink()
    with pytest.raises(BadInput, match="records-missing") as missing:
        plan(site, second_suite())
    assert {problem.where.partition("run ")[2] for problem in missing.value.problems if problem.where} == runs
    assert ranks(site) == before


@ONLY_SQLITE
def test_entries_from_before_sampling_variances_get_theirs(site: Site) -> None:
    entry = site.score("ada", uids(1), colours=6)
    with site.database.write() as session:
        score = session.get_one(Score, entry.id)
        expected = (score.average, score.sampling_variance, score.variances, score.tasks)
        assert score.sampling_variance is not None
        bare = {key: {"value": found["value"], "n": found["n"]} for key, found in score.tasks.items()}
        nothing = {"variances": None, "tasks": bare}
        session.execute(sa.update(SeedScore).values(**nothing))
        names = ("public_variances", "sampling_variance", "public_sampling_variance")
        session.execute(sa.update(Score).values(**nothing, **dict.fromkeys(names)))
    assert apply(site, plan(site)) == 1
    with site.database.read() as session:
        score = session.get_one(Score, entry.id)
        assert (score.average, score.sampling_variance, score.variances, score.tasks) == expected
        assert score.public_sampling_variance is not None
    assert plan(site).differing == ()


@ONLY_SQLITE
def test_a_plan_that_has_grown_old_is_refused(site: Site) -> None:
    one = site.score("ada", uids(1))
    planned = plan(site, second_suite())
    with site.database.write() as session:
        session.execute(sa.update(SeedScore).where(SeedScore.submission_id == one.id).values(records_digest="0" * 64))
    with pytest.raises(Conflict, match="rescore-stale"):
        apply(site, planned)


@ONLY_SQLITE
def test_scores_of_another_suite_are_not_taken_over(site: Site) -> None:
    """An evaluation whose scores were computed anew since no longer stands for the same work elsewhere."""
    site.score("ada", uids(1), colours=6)
    with site.database.write() as session:
        session.execute(sa.update(SeedScore).values(suite_digest=second_suite().digest, average=0.99))
    again = site.submit("grace", uids(1))
    site.worker().work(colours=6)
    receipt = site.receipt(again.id)
    assert [run.reused_from is not None for run in receipt.runs] == [True, True, True, False]
    assert receipt.score is not None
    assert receipt.score.average == 0.75


@ONLY_SQLITE
def test_the_command_looks_and_then_applies(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datacomp_server.cli import admin

    site.score("ada", uids(1), colours=2, shift=8)
    file = tmp_path / "second.json"
    file.write_text(json.dumps(second_suite().model_dump(mode="json")))
    for name in ("data_dir", "database_url", "boards_file"):
        monkeypatch.setenv(f"DATACOMP_{name.upper()}", str(getattr(site.settings, name)))
    monkeypatch.setenv("COLUMNS", "200")
    looked = CliRunner().invoke(admin, ["rescore", "small-board", "--suite", str(file)])
    assert looked.exit_code == 0, looked.output
    assert "1 of 1 submissions change" in looked.output
    assert "nothing is written yet" in looked.output
    assert site.board().suite == "mini@1"
    applied = CliRunner().invoke(admin, ["rescore", "small-board", "--suite", str(file), "--apply", "--json"])
    assert applied.exit_code == 0, applied.output
    told = json.loads(applied.stdout)
    assert told["applied"] is True
    assert told["submissions"][0]["after"]["average"] == 0.75
    assert site.board().suite == "mini@2"
