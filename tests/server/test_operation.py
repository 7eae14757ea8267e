"""Metrics, logs, backups and the organisers' console."""

import io
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from server_site import ONE_BOARD, ONLY_SQLITE, Site, codes, running, uids, write_boards
from servers import POSTGRES, needed
from typer.testing import CliRunner

from datacomp.cli import build
from datacomp.logs import LogFormat
from datacomp.messages import Stage
from datacomp.problems import BadInput
from datacomp_server.boards.removals import Removals
from datacomp_server.clock import now
from datacomp_server.operation.backup import back_up, restore
from datacomp_server.operation.logs import log_as_set
from datacomp_server.operation.retention import sweep_files
from datacomp_server.requests import RequestFacts, _current
from datacomp_server.runs.claiming import Claims
from datacomp_server.runs.lifecycle import Lifecycle
from datacomp_server.runs.models import Attempt
from datacomp_server.settings import Mode, Settings
from datacomp_server.submissions.models import StoredFile, Submission
from datacomp_server.submissions.repository import SubmissionRepository


def figures(site: Site, **headers: str) -> dict[tuple[str, tuple[str, ...]], float]:
    reply = site.http.get("/metrics", headers=headers)
    assert reply.status_code == 200, reply.text
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


def test_metrics_tell_of_queues_attempts_and_requests(site: Site) -> None:
    site.score("ada", uids(1))
    site.submit("grace", uids(2))
    site.worker().work_until(Stage.TRAIN)
    site.submit("linus", uids(3))
    site.http.get("/nowhere/at/all")
    found = figures(site)
    assert found[("datacomp_submissions", ("small-board", "scored"))] == 1
    assert found[("datacomp_submissions", ("small-board", "training"))] == 1
    assert found[("datacomp_runs", ("cpu", "train", "running"))] == 1
    assert found[("datacomp_runs", ("cpu", "validate", "queued"))] == 1
    assert found[("datacomp_queue_oldest_seconds", ("cpu",))] >= 0
    assert found[("datacomp_workers_alive", ("cpu",))] == 1
    assert found[("datacomp_attempts_total", ("evaluate", "done"))] == 1
    assert found[("datacomp_attempt_seconds_total", ("evaluate", "done"))] >= 0
    assert found[("datacomp_disk_free_bytes", ())] > 0
    assert found[("datacomp_http_requests_total", ("GET", "unknown", "404"))] >= 1
    submitted = ("datacomp_http_requests_total", ("POST", "/api/submissions", "201"))
    assert found[submitted] >= 3


@ONLY_SQLITE
def test_metrics_need_their_token_where_there_is_one(make_settings: Callable[..., Settings]) -> None:
    with running(make_settings(metrics_token="a-long-token-for-metrics-alone")) as site:
        assert codes(site.http.get("/metrics")) == ["metrics-token"]
        assert figures(site, Authorization="Bearer a-long-token-for-metrics-alone")
    secrets = {"secret_key": "s" * 32, "worker_token": "w" * 32, "organiser_token": "o" * 32}
    with running(make_settings(mode=Mode.PRODUCTION, **secrets)) as site:
        assert codes(site.http.get("/metrics")) == ["metrics-off"]


@pytest.fixture
def lines(make_settings: Callable[..., Settings]) -> Any:
    """Logs of the process in a form, until the test ends."""
    root, level = logging.getLogger(), logging.getLogger().level
    before = root.handlers[:]

    def start(form: LogFormat) -> io.StringIO:
        out = io.StringIO()
        log_as_set(out, make_settings(log_format=form))
        return out

    yield start
    root.handlers[:] = before
    root.setLevel(level)


@ONLY_SQLITE
def test_a_line_of_the_log_is_json_and_names_its_request(lines: Any) -> None:
    out = lines(LogFormat.JSON)
    token = _current.set(RequestFacts("request-1", None, ""))
    logging.getLogger("datacomp_server.test").warning("three %s", "words", extra={"run": "r1"})
    _current.reset(token)
    found = json.loads(out.getvalue())
    assert {key: found[key] for key in ("level", "logger", "message", "request_id", "run")} == {
        "level": "WARNING",
        "logger": "datacomp_server.test",
        "message": "three words",
        "request_id": "request-1",
        "run": "r1",
    }
    assert "time" in found


@ONLY_SQLITE
def test_requests_are_logged_without_what_they_carry(lines: Any, make_settings: Callable[..., Settings]) -> None:
    out = lines(LogFormat.TEXT)
    with running(make_settings()) as site:
        headers = {"Authorization": "Bearer dc_very-secret", "X-Request-ID": "abcdefgh-1"}
        reply = site.http.get("/api/boards?token=very-secret", headers=headers)
        site.http.get("/healthz")
    assert reply.headers["X-Request-ID"] == "abcdefgh-1"
    text = out.getvalue()
    assert " [abcdefgh-1]: GET /api/boards " in text
    assert "very-secret" not in text
    assert "healthz" not in text


def moved(settings: Settings, place: Path) -> Settings:
    """The same platform in another, empty folder."""
    changes = {"data_dir": place, "storage_url": f"file://{place / 'storage'}"}
    place.mkdir()
    write_boards(place)
    changes["database_url"] = f"sqlite:///{place / 'again.sqlite3'}"
    return settings.model_copy(update=changes)


@ONLY_SQLITE
def test_a_backup_brings_everything_back_and_it_goes_on(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    settings = make_settings()
    content = uids(4)
    with running(settings) as site:
        scored = site.score("ada", uids(1))
        waiting = site.submit("grace", uids(2))
        half_way = site.submit("linus", uids(3))
        site.worker().must_claim()
        opened = site.open("ada", content)
        first = back_up(settings, tmp_path / "backup")
        after = site.submit("ben", uids(5))
        second = back_up(settings, tmp_path / "backup")
        tokens = dict(site.tokens)
    assert (first.gone, first.new_files, second.new_files) == ([], first.files, 1)
    again = moved(settings, tmp_path / "elsewhere")
    assert restore(again, tmp_path / "backup", first.taken_at).files == first.files
    with running(again) as site:
        site.tokens.update(tokens)
        assert site.receipt(scored.id).score == scored.score
        assert site.http.get(f"/api/submissions/{after.id}").status_code == 404
        assert site.send("ada", opened.id, content).status_code == 200
        with site.database.write() as session:
            session.execute(sa.update(Attempt).values(lease_until=now()))
        assert Claims(site.database, site.settings, site.storage).expire() == 1
        site.worker().work()
        assert {site.receipt(entry.id).state for entry in (waiting, half_way, opened)} == {"scored"}


@ONLY_SQLITE
def test_a_restore_overwrites_nothing_and_checks_everything(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    settings = make_settings()
    with running(settings) as site:
        site.score("ada", uids(1))
    backup = tmp_path / "backup"
    report = back_up(settings, backup)
    with pytest.raises(BadInput, match="restore-not-empty"):
        restore(settings, backup)
    with pytest.raises(BadInput, match="backup-unknown"):
        restore(moved(settings, tmp_path / "a"), backup, "yesterday")
    upload = next((backup / "files" / "uploads").rglob("content"))
    upload.write_bytes(upload.read_bytes()[:-1] + b"?")
    with pytest.raises(BadInput, match="1 files of the backup are missing or damaged"):
        restore(moved(settings, tmp_path / "b"), backup)
    shutil.rmtree(upload.parent)
    with pytest.raises(BadInput, match="backup-damaged"):
        restore(moved(settings, tmp_path / "c"), backup)
    (backup / report.database).write_bytes(b"")
    with pytest.raises(BadInput, match="the copy of the database is missing or damaged"):
        restore(moved(settings, tmp_path / "d"), backup)


@ONLY_SQLITE
def test_the_console_lists_stops_withdraws_and_exports(
    make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = make_settings()
    with running(settings) as site:
        scored = site.score("ada", uids(1))
        waiting = site.submit("grace", uids(2))
    monkeypatch.setenv("DATACOMP_DATA_DIR", str(settings.data_dir))
    monkeypatch.setenv("DATACOMP_DATABASE_URL", settings.database_url)

    def admin(*arguments: str) -> str:
        done = CliRunner().invoke(build(), ["admin", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert scored.id in admin("submissions", "--state", "scored")
    assert waiting.id not in admin("submissions", "--state", "scored")
    admin("export", "small-board", "--out", str(tmp_path / "out"))
    assert (tmp_path / "out" / "manifests" / f"{scored.id}.json").is_file()
    assert scored.id in (tmp_path / "out" / "leaderboard.csv").read_text()
    assert "1 uids removed; 1 are removed from tiny" in admin("remove-uid", "tiny", "0" * 31 + "A")
    assert "0 uids removed; 1 are removed" in admin("remove-uid", "tiny", "0" * 31 + "a")
    assert "1 uids brought back; 0 are removed" in admin("remove-uid", "tiny", "0" * 31 + "a", "--undo")
    admin("cancel", waiting.id, "--reason", "too late")
    admin("withdraw", scored.id)
    assert CliRunner().invoke(build(), ["admin", "cancel", waiting.id]).exit_code != 0
    admin("backup", str(tmp_path / "backup"))
    with running(settings) as site:
        assert [site.receipt(entry.id).state for entry in (waiting, scored)] == ["cancelled", "withdrawn"]
        noted = site.http.get("/api/audit", headers=site.headers("organiser")).json()
        said = [line["what"] for line in noted if line["what"].startswith(("submission", "uids"))]
        assert said == ["submission-withdrawn", "submission-cancelled", "uids-restored", *["uids-removed"] * 2]


def test_what_is_past_its_time_is_deleted_and_nothing_else(site: Site) -> None:
    first = site.submit("ada", uids(1))
    attempt = site.worker().work_until(Stage.TRAIN)
    attempt.store("epoch_1.pt", b"half-way")
    site.worker().work()
    assert attempt.finish().status_code == 204
    site.worker().work()
    baseline = site.score("organiser", uids(2))
    again = site.score("grace", uids(1))  # takes over what was made for the first
    settings = site.settings.model_copy(update={"keep_leftovers_days": 0, "keep_checkpoints_days": None})

    def names(submission: str) -> set[str]:
        reply = site.http.get(f"/api/submissions/{submission}/files", headers=site.headers("organiser"))
        return {file["name"] for file in reply.json()}

    def sweep() -> int:
        return sweep_files(site.database, settings, site.storage)

    assert (sweep(), sweep()) == (1, 0)
    with site.database.read() as session:
        (gone,) = session.scalars(sa.select(StoredFile).where(StoredFile.deleted_at.is_not(None)))
    assert (gone.name, site.storage.exists(gone.key)) == ("epoch_1.pt", False)
    settings.keep_checkpoints_days = 30
    assert sweep() == 0
    with site.database.write() as session:
        old = sa.update(Submission).where(Submission.id.in_([first.id, baseline.id]))
        session.execute(old.values(finished_at=now() - timedelta(days=31)))
    assert sweep() == 0  # a younger submission stands on the same weights
    with site.database.write() as session:
        session.execute(sa.update(Submission).values(finished_at=now() - timedelta(days=31)))
    assert (sweep(), sweep()) == (2, 0)
    assert [("checkpoint.pt" in names(entry.id)) for entry in (first, again, baseline)] == [False, False, True]
    assert site.receipt(first.id).score is not None


def test_removed_uids_are_told_to_the_worker_and_change_what_equals_what(site: Site) -> None:
    content = uids(7)
    first = site.score("ada", content)
    with site.database.write() as session:
        assert Removals(session).remove("tiny", ["0" * 32, "0" * 31 + "1"], actor="test", reason="asked") == 2
        with pytest.raises(BadInput, match="uid-malformed"):
            Removals(session).remove("tiny", ["nonsense"], actor="test", reason="asked")
    again = site.submit("grace", content)
    job = site.worker().must_claim(Stage.SUBSET).job  # the validation is taken over, the subset is not
    assert job.removed == ["0" * 32, "0" * 31 + "1"]
    assert {run.reused_from for run in site.receipt(again.id).runs} == {None, first.runs[0].id}


@pytest.fixture
def two_databases() -> Iterator[tuple[str, str]]:
    """URLs of two PostgreSQL databases of their own, the second one empty for good."""
    base = sa.make_url(needed(POSTGRES, "PostgreSQL"))
    admin = sa.create_engine(base, isolation_level="AUTOCOMMIT")
    names = [f"test_{what}_{os.getpid()}_{time.time_ns()}" for what in ("first", "second")]
    with admin.connect() as connection:
        for name in names:
            connection.execute(sa.text(f"create database {name}"))
    yield tuple(base.set(database=name).render_as_string(hide_password=False) for name in names)
    with admin.connect() as connection:
        for name in names:
            connection.execute(sa.text(f"drop database {name} with (force)"))
    admin.dispose()


@ONLY_SQLITE
def test_a_backup_of_postgresql(
    make_settings: Callable[..., Settings], tmp_path: Path, two_databases: tuple[str, str]
) -> None:
    settings = make_settings(database_url=two_databases[0])
    content = uids(4)
    with running(settings) as site:
        scored, waiting = site.score("ada", uids(1)), site.submit("grace", uids(2))
        opened = site.open("ada", content)
        report = back_up(settings, tmp_path / "backup")
        tokens = dict(site.tokens)
    again = moved(settings, tmp_path / "elsewhere").model_copy(update={"database_url": two_databases[1]})
    assert restore(again, tmp_path / "backup").files == report.files
    with pytest.raises(BadInput, match="restore-not-empty"):
        restore(again, tmp_path / "backup")
    with running(again) as site:
        site.tokens.update(tokens)
        assert site.receipt(scored.id).score == scored.score
        assert site.send("ada", opened.id, content).status_code == 200
        site.worker().work()
        assert {site.receipt(entry.id).state for entry in (waiting, opened)} == {"scored"}


def test_a_failed_submission_is_taken_up_again_where_it_failed(make_settings: Callable[..., Settings]) -> None:
    settings = make_settings(max_attempts=1)
    write_boards(settings.data_dir, ONE_BOARD.replace("submissions_per_day", "seeds = 2\nsubmissions_per_day"))
    with running(settings) as site:
        opened = site.submit("ada", uids(1))
        assert site.worker().work_until(Stage.TRAIN).fail("platform").status_code == 204
        failed = site.receipt(opened.id)
        assert (failed.state, failed.quota_refunded) == ("failed", True)
        assert sorted(run.state for run in failed.runs) == ["cancelled"] * 3 + ["done"] * 2 + ["failed"]
        with site.database.write() as session:
            row = SubmissionRepository(session).lock(opened.id)
            assert row is not None
            Lifecycle(session, site.settings, site.storage).requeue(row, "organiser:test", "mended")
        assert site.receipt(opened.id).state == "training 1 of 2"
        site.worker().work()
        scored = site.receipt(opened.id)
        assert (scored.state, scored.failure, scored.quota_refunded) == ("scored", None, True)
        assert [row.submission for row in site.board().rows] == [opened.id]
