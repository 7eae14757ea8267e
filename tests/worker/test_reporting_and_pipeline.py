"""The heartbeat keeps or loses a run; what a stage raises becomes a typed failure; a lost run writes nothing more."""

import io
import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from stage_job import stage_context

from datacomp.digests import digest_bytes
from datacomp.http import Refused
from datacomp.logs import LogFormat, log_to
from datacomp.messages import (
    BoardFacts,
    Failure,
    FileRef,
    HeartbeatReply,
    Job,
    Progress,
    Stage,
    SubmissionKind,
    Track,
    Usage,
    ValidateResult,
)
from datacomp.problems import BadInput, PlatformFault, Problem
from datacomp_worker import pipeline
from datacomp_worker.pipeline import Worker, _job, describe_failure, run_context
from datacomp_worker.reporting import LOG_LIMIT, HeartbeatReporter
from datacomp_worker.settings import WorkerSettings
from datacomp_worker.stages.base import Cancelled, StageContext, StageOutput

DIGEST = digest_bytes(b"upload")


def job(**changes: object) -> Job:
    board = BoardFacts(name="b", track=Track.FILTERING, scale="tiny", suite="tiny@1", suite_digest=DIGEST, pool="tiny")
    upload = FileRef(name="u.npy", digest=DIGEST, size=6)
    fields = {
        "attempt": "a1",
        "fence": 7,
        "number": 1,
        "lease_seconds": 1.0,
        "heartbeat_seconds": 0.02,
        "run": "r1",
        "submission": "s1",
        "stage": Stage.VALIDATE,
        "seed": 0,
        "rehearsal": False,
        "kind": SubmissionKind.UIDS,
        "board": board,
        "upload": upload,
        "inputs": [],
        "facts": {},
    }
    return Job(**{**fields, **changes})


class Recorder:
    """Stands where the HTTP client stands, and notes what would have been sent."""

    def __init__(self) -> None:
        self.beats: list[tuple[Progress | None, str]] = []
        self.reply: Callable[[], HeartbeatReply] = lambda: HeartbeatReply(cancel=False)
        self.stored: list[str] = []
        self.finished: list[tuple[object, list[FileRef]]] = []
        self.failed: list[Failure] = []
        self.jobs: list[Job] = []
        self.usages: list[Usage] = []

    def claim(self, worker: str, queues: list[str], no_code: str) -> Job | None:
        return self.jobs.pop() if self.jobs else None

    def heartbeat(self, job: Job, progress: Progress | None, log: str, usage: Usage) -> HeartbeatReply:
        self.beats.append((progress, log))
        self.usages.append(usage)
        return self.reply()

    def fetch(self, job: Job, file: FileRef, to: Path, *, name: str | None = None) -> None:
        to.write_bytes(b"upload")

    def store(self, job: Job, name: str, path: Path) -> FileRef:
        self.stored.append(name)
        return FileRef(name=name, digest=digest_bytes(path.read_bytes()), size=path.stat().st_size)

    def finish(self, job, result, outputs, *, environment, log, usage) -> None:
        self.finished.append((result, outputs))
        self.usages.append(usage)

    def fail(self, job: Job, failure: Failure, log: str, usage: Usage) -> None:
        self.failed.append(failure)
        self.usages.append(usage)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def refuse(status: int) -> Callable[[], HeartbeatReply]:
    def reply() -> HeartbeatReply:
        raise Refused(status, Problem(code="attempt-fenced", message="not yours"))

    return reply


def test_heartbeats_carry_the_latest_progress_and_all_of_the_log() -> None:
    api = Recorder()
    reporter = HeartbeatReporter(api, job())
    reporter.log("first ")
    for done in range(100):
        reporter.progress(Progress(done=done, unit="rows"))
    reporter.start()
    until(lambda: len(api.beats) >= 2)
    reporter.log("last")
    rest = reporter.stop()
    assert api.beats[0][0] == Progress(done=99, unit="rows")
    assert "".join(text for _, text in api.beats) + rest == "first last"


@pytest.mark.parametrize("status", [404, 409, 410])
def test_a_refused_heartbeat_ends_the_run(status: int) -> None:
    api = Recorder()
    api.reply = refuse(status)
    reporter = HeartbeatReporter(api, job())
    reporter.start()
    until(lambda: reporter.lost)
    for call in (reporter.check, lambda: reporter.log("x"), lambda: reporter.progress(Progress(done=1, unit="rows"))):
        with pytest.raises(Cancelled):
            call()


def test_a_server_away_for_less_than_a_lease_costs_nothing_and_for_more_costs_the_run() -> None:
    api = Recorder()

    def away() -> HeartbeatReply:
        raise PlatformFault.of("server-unreachable", "no answer")

    api.reply = away
    reporter = HeartbeatReporter(api, job(lease_seconds=0.5))
    reporter.log("kept")
    reporter.start()
    until(lambda: len(api.beats) >= 3)
    reporter.check()
    api.reply = lambda: HeartbeatReply(cancel=False)
    until(lambda: api.beats[-1][1] == "" and len(api.beats) > 4)
    assert any("kept" in text for _, text in api.beats)
    api.reply = away
    until(lambda: reporter.lost)


def test_a_flood_of_log_is_cut() -> None:
    reporter = HeartbeatReporter(Recorder(), job())
    for _ in range(100):
        reporter.log("x" * LOG_LIMIT)
    reporter.start()
    text = reporter.stop()
    assert len(text) < 2 * LOG_LIMIT + 200


@pytest.fixture
def worker(tmp_path: Path) -> tuple[Worker, Recorder]:
    (tmp_path / "pools" / "tiny").mkdir(parents=True)
    api = Recorder()
    settings = WorkerSettings(worker_token="t" * 32, data_dir=tmp_path, worker_name="w")
    return Worker(api, settings, ("cpu",)), api


def run_stage(monkeypatch: pytest.MonkeyPatch, stage: Callable[[StageContext], StageOutput]) -> None:
    monkeypatch.setattr(pipeline, "stage_function", lambda _: stage)


RESULT = ValidateResult(rows=1, unique=1, repeats=0, unavailable=0)


def test_outputs_are_stored_before_the_run_is_reported_done(worker, monkeypatch, tmp_path) -> None:
    under, api = worker

    def stage(context: StageContext) -> StageOutput:
        assert context.input("upload").read_bytes() == b"upload"
        (context.workspace / "o").write_bytes(b"out")
        return StageOutput(RESULT, {"subset.npy": context.workspace / "o"})

    run_stage(monkeypatch, stage)
    api.jobs = [job(attempt="a1"), job(attempt="a2")]
    assert under.serve() == 2
    assert api.finished[0] == (RESULT, [FileRef(name="subset.npy", digest=digest_bytes(b"out"), size=3)])
    assert api.stored == ["subset.npy", "subset.npy"]
    assert not list((tmp_path / "scratch" / "attempts").iterdir()), "workspaces are removed"


def test_the_lease_is_kept_while_the_server_works_on_the_result(worker, monkeypatch) -> None:
    under, api = worker
    logs = []

    def finish(job: Job, *_: object, log: str, **__: object) -> None:
        before = len(api.beats)
        until(lambda: len(api.beats) > before + 3)
        logs.append(log)

    def stage(context: StageContext) -> StageOutput:
        context.report.log("line")
        return StageOutput(RESULT, {})

    run_stage(monkeypatch, stage)
    monkeypatch.setattr(api, "finish", finish)
    under.carry_out(job())
    beats = len(api.beats)
    assert "".join(text for _, text in api.beats) + logs[0] == "line"
    time.sleep(0.1)
    assert len(api.beats) == beats, "the heartbeat ends with the run"
    assert not api.failed


def test_a_cancelled_run_stores_and_reports_nothing(worker, monkeypatch) -> None:
    under, api = worker
    api.reply = lambda: HeartbeatReply(cancel=True)

    def stage(context: StageContext) -> StageOutput:
        until(lambda: context.report.lost)
        context.report.store("subset.npy", context.input("upload"))
        raise AssertionError("store must raise")

    run_stage(monkeypatch, stage)
    under.carry_out(job())
    assert (api.stored, api.finished, api.failed) == ([], [], [])


@pytest.mark.parametrize(
    ("error", "blame", "code"),
    [
        (BadInput.of("uids-empty", "none"), "participant", "uids-empty"),
        (PlatformFault.of("pool-missing", "none"), "platform", "pool-missing"),
        (Refused(422, Problem(code="x", message="y")), "platform", "x"),
        (OSError(28, "No space left on device"), "platform", "worker-disk-full"),
        (OSError(5, "Input/output error"), "platform", "worker-io"),
        (MemoryError(), "platform", "out-of-memory"),
        (KeyError("k"), "platform", "stage-crashed"),
    ],
)
def test_every_exception_becomes_a_typed_failure(worker, monkeypatch, error, blame, code) -> None:
    under, api = worker

    def stage(context: StageContext) -> StageOutput:
        raise error

    run_stage(monkeypatch, stage)
    under.carry_out(job())
    (failure,) = api.failed
    assert (failure.blame, failure.problems[0].code) == (blame, code)


def test_unforeseen_errors_name_the_place_and_carry_the_trace() -> None:
    try:
        {}["missing"]
    except KeyError as error:
        failure = describe_failure(error)
    assert "test_reporting_and_pipeline.py" in (failure.problems[0].where or "")
    assert "KeyError" in failure.log_tail


def test_a_pool_this_worker_lacks_is_a_platform_failure(worker) -> None:
    under, api = worker
    missing = job().board.model_copy(update={"pool": "other"})
    under.carry_out(job(board=missing))
    assert api.failed[0].problems[0].code == "pool-missing"


BURN = "import time\nwhile time.process_time() < 0.3: pass"


def test_processor_time_of_children_counts_as_the_attempts(worker, monkeypatch) -> None:
    under, api = worker

    def stage(context: StageContext) -> StageOutput:
        until(lambda: bool(api.usages))
        subprocess.run([sys.executable, "-c", BURN], check=True)
        child = subprocess.Popen(
            [sys.executable, "-c", f"{BURN}\nprint(flush=True)\ntime.sleep(60)"], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        count = len(api.usages)
        until(lambda: len(api.usages) > count + 1)
        child.kill()
        child.wait()
        child.stdout.close()
        raise BadInput.of("over", "over")

    run_stage(monkeypatch, stage)
    under.carry_out(job())
    used = [usage.cpu_seconds for usage in api.usages]
    assert used == sorted(used)
    assert used[-1] - used[0] > 0.6, "one child that has ended, and one that was alive when it was asked"
    assert api.usages[-1].seconds >= 0.6
    assert api.usages[-1].device in {"cpu", "cuda"}
    assert api.usages[-1].count >= 1


def test_lines_that_a_run_logs_name_it(tmp_path: Path) -> None:
    out = io.StringIO()
    root, handlers, level = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    try:
        log_to(out, LogFormat.JSON, "INFO", run_context)
        context = stage_context(Stage.VALIDATE, tmp_path, {})
        token = _job.set(context.job)
        logging.getLogger("datacomp_worker.test").info("inside")
        _job.reset(token)
        logging.getLogger("datacomp_worker.test").info("outside")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    inside, outside = map(json.loads, out.getvalue().splitlines())
    assert (inside["message"], inside["submission"], inside["run"], inside["attempt"]) == ("inside", "s", "r", "a")
    assert "run" not in outside
