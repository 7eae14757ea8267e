"""Hostile and broken filters over a pool, by the code that the stage uses: contained, and told what they did."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from boxed import require_bubblewrap
from small_pool import SmallPool

from datacomp.filtering.wire import Header, Sender
from datacomp.pool import Pool, ingest
from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.sandbox import Limits, score_in_sandbox
from datacomp_worker.sandbox.limits import GIB, MIB

LIMITS = Limits(seconds=30, memory=1 * GIB, processes=32, log_bytes=1 * MIB, log_kept=4096, tmp_files=300)
HEAD = """from datacomp.filtering import Filter
import os, sys, time

class Mine(Filter):
    columns = ("words",)
    rule = "score > 3"

    def score(self, batch):
"""
RESULT = "int(sys.orig_argv[-1])"


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    require_bubblewrap()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    """A pool with things beside it that no filter may see."""
    directory = tmp_path_factory.mktemp("pool")
    SmallPool(rows=24, shards=2).write(directory)
    ingested = ingest(directory, processes=1)
    (directory / "truth.parquet").write_text("the hidden truth")
    (directory / "suite").mkdir()
    (directory / "suite" / "labels").write_text("evaluation data")
    return ingested


def written(tmp_path: Path, body: str, name: str = "mine.py") -> Path:
    path = tmp_path / name
    path.write_text(HEAD + "".join(f"        {line}\n" for line in body.splitlines()))
    return path


def problem(tmp_path: Path, pool: Pool, body: str, limits: Limits = LIMITS) -> tuple[str, str, str]:
    """Code, place and log of the error that a filter ends with; every one says what to do."""
    started = time.monotonic()
    with pytest.raises(BadInput) as error:
        score_in_sandbox(written(tmp_path, body), pool, limits)
    assert time.monotonic() - started < limits.seconds + 6
    (found,) = error.value.problems
    assert found.hint
    assert found.message
    return found.code, found.where or "", error.value.log_tail


def test_a_good_filter_answers_and_its_prints_are_kept(pool: Pool, tmp_path: Path) -> None:
    ticks: list[int] = []
    code = written(tmp_path, "print('a word from the filter')\nreturn batch['words']")
    scored = score_in_sandbox(code, pool, LIMITS, tick=ticks.append)
    assert np.array_equal(scored.scores, pool.column("words"))
    assert scored.rule == "score > 3"
    assert "a word from the filter" in scored.outcome.log
    assert ticks == [12, 24]


@pytest.mark.parametrize(
    ("body", "code", "where"),
    [
        ("return 1 / 0", "filter-raised", "mine.py:9, in score"),
        ("raise SystemExit(0)", "filter-raised", "mine.py:9, in score"),
        ("def again(): again()\nagain()", "filter-raised", "mine.py:9, in again"),
        ("return batch['text']", "filter-undeclared", "mine.py:9, in score"),
        ("return [True]", "filter-score-shape", "shard 00000000"),
        ("import socket\nsocket.create_connection(('192.0.2.1', 80))", "filter-raised", "mine.py:10, in score"),
        ("open('/pool/metadata/new', 'w')", "filter-raised", "mine.py:9, in score"),
        ("bytearray(8 << 30)", "filter-memory", "mine.py:9, in score"),
        ("os._exit(0)", "filter-ended", "mine.py, after 0 of 24 rows"),
        ("import ctypes\nctypes.string_at(0)", "filter-ended", "mine.py, after 0 of 24 rows"),
        ("while True: print('spam' * 9999)", "filter-output-flood", "mine.py, after 0 of 24 rows"),
        ("for n in range(999): open(f'/tmp/{n}', 'w')\ntime.sleep(5)", "filter-files", "mine.py, after 0 of 24 rows"),
        (f"os.write({RESULT}, b'nonsense' * 99)\ntime.sleep(9)", "filter-result-malformed", "mine.py"),
        (f"while True: os.write({RESULT}, b'B' + bytes(4))", "filter-result-malformed", "mine.py"),
        (f"while True: os.write({RESULT}, b'S' + b'\\xff' * 4)", "filter-result-malformed", "mine.py"),
        (f"os.close({RESULT})", "filter-ended", "mine.py, after 0 of 24 rows"),
    ],
)
def test_what_filters_do_wrong_is_named_with_its_place(pool, tmp_path, body: str, code: str, where: str) -> None:
    found = problem(tmp_path, pool, body)
    assert found[0] == code, found
    assert found[1].startswith(where), found


def test_a_filter_that_never_ends_and_the_log_of_what_failed(pool: Pool, tmp_path: Path) -> None:
    body = "print('before the loop')\nwhile True: pass"
    found = problem(tmp_path, pool, body, replace(LIMITS, seconds=4))
    assert found[0] == "filter-timeout"
    assert "before the loop" in found[2]


def test_memory_of_all_processes_together(pool: Pool, tmp_path: Path) -> None:
    body = """for _ in range(5):
    if os.fork() == 0:
        x = bytearray(120 << 20)
        time.sleep(9)
time.sleep(9)"""
    assert problem(tmp_path, pool, body, replace(LIMITS, memory=512 * MIB))[0] == "filter-memory"


def test_code_at_the_head_of_the_file_is_in_the_sandbox_too(pool: Pool, tmp_path: Path) -> None:
    path = written(tmp_path, "return batch['words']")
    path.write_text("raise ValueError('at the head')\n" + path.read_text())
    with pytest.raises(BadInput, match="filter-raised: ValueError: at the head") as error:
        score_in_sandbox(path, pool, LIMITS)
    assert error.value.problems[0].where == "mine.py:1, in <module>"


def test_a_filter_sees_nothing_beside_metadata_and_pack(pool: Pool, tmp_path: Path) -> None:
    host = [pool.directory / name for name in ("truth.parquet", "suite", "shards", "metadata")]
    body = f"""seen = [sorted(os.listdir(place)) for place in ("/pool", "/pool/pack", "/pool/metadata", "/submission")]
print(seen, [path for path in {[str(path) for path in host]} if os.path.exists(path)])
print(sum("truth" in name or "suite" in name for _, folders, files in os.walk("/pool") for name in folders + files))
return batch['words']"""
    log = score_in_sandbox(written(tmp_path, body), pool, LIMITS).outcome.log
    metadata = [f"0000000{n}.{kind}" for n in range(2) for kind in ("npz", "parquet")]
    first, second, *_ = log.splitlines()
    assert first == f"{[['metadata', 'pack'], ['columns', 'manifest.json'], metadata, ['mine.py']]} []"
    assert second == "0"


@pytest.mark.parametrize("place", ["metadata", "pack/columns"])
def test_a_file_that_does_not_belong_to_the_pool_stops_the_run(pool: Pool, tmp_path: Path, place: str) -> None:
    stray = pool.directory / place / "truth.npy"
    stray.write_text("x")
    try:
        with pytest.raises(PlatformFault, match="pool-stray-file"):
            score_in_sandbox(written(tmp_path, "return batch['words']"), pool, LIMITS)
    finally:
        stray.unlink()


def test_links_out_of_the_pool_stop_the_run(pool: Pool, tmp_path: Path) -> None:
    file = pool.metadata_file(0)
    kept = tmp_path / "elsewhere.parquet"
    file.rename(kept)
    file.symlink_to(kept)
    try:
        with pytest.raises(PlatformFault, match="pool-link"):
            score_in_sandbox(written(tmp_path, "return batch['words']"), pool, LIMITS)
    finally:
        kept.replace(file)


def test_a_damaged_pool_is_our_fault_and_a_filter_cannot_claim_it(pool: Pool, tmp_path: Path) -> None:
    claim = "from datacomp.problems import PlatformFault\nraise PlatformFault.of('pool-changed', 'not my fault')"
    assert problem(tmp_path, pool, claim)[0] == "pool-changed"
    column = pool.directory / "pack" / "columns" / "words.npy"
    whole = column.read_bytes()
    column.write_bytes(whole[:-8])
    try:
        with pytest.raises(PlatformFault, match="pool-pack-damaged"):
            score_in_sandbox(written(tmp_path, "return batch['words']"), pool, LIMITS)
    finally:
        column.write_bytes(whole)


def test_what_a_filter_writes_of_itself_is_cleaned(pool: Pool, tmp_path: Path) -> None:
    path = written(tmp_path, "raise ValueError('\\x1b[2Jcleared\\u202e')")
    with pytest.raises(BadInput) as error:
        score_in_sandbox(path, pool, LIMITS)
    assert error.value.problems[0].message == "ValueError: \ufffd[2Jcleared\ufffd"
    body = f"""from datacomp.problems import Problem
import datacomp.filtering.wire as wire
wire.Sender(os.fdopen({RESULT}, "wb", 0)).failure((Problem(code="a b<script>", message="m"),))
os._exit(0)"""
    assert problem(tmp_path, pool, body)[0] == "filter-result-malformed"


def test_a_forged_result_is_scores_and_no_more(pool: Pool, tmp_path: Path) -> None:
    """A filter may write its scores to the pipe itself: it could have returned them. More than that it cannot say."""
    import io

    file = io.BytesIO()
    sender = Sender(file)
    sender.header(Header(dtype="bool", rule="score"))
    sender.scores(np.ones(24, np.bool_))
    sender.end()
    body = f"os.write({RESULT}, {file.getvalue()!r})\nos._exit(0)"
    scored = score_in_sandbox(written(tmp_path, body), pool, LIMITS)
    assert scored.scores.all()
    again = f"os.write({RESULT}, {file.getvalue()!r} * 2)\nos._exit(0)"
    assert problem(tmp_path, pool, again)[0] == "filter-result-malformed"


def test_cancelling_ends_the_filter(pool: Pool, tmp_path: Path) -> None:
    class Cancelled(Exception):
        pass

    started = time.monotonic()

    def check() -> None:
        if time.monotonic() - started > 1.5:
            raise Cancelled

    with pytest.raises(Cancelled):
        score_in_sandbox(written(tmp_path, "while True: pass"), pool, LIMITS, check=check)
    assert time.monotonic() - started < 6


def test_a_host_too_slow_to_start_the_sandbox_is_not_the_filters_fault(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(PlatformFault, match="sandbox-slow"):
        score_in_sandbox(written(tmp_path, "return batch['words']"), pool, replace(LIMITS, seconds=0.05))


def test_a_sandbox_that_does_not_come_up_is_our_fault(pool: Pool, tmp_path: Path, monkeypatch) -> None:
    from datacomp_worker.sandbox import command

    def broken(*arguments: object) -> list[str]:
        return ["/bin/sh", "-c", "echo bwrap: no permission to create a new namespace >&2; exit 1"]

    monkeypatch.setattr("datacomp_worker.sandbox.process.command_line", broken)
    assert command.command_line is not broken
    with pytest.raises(PlatformFault, match="sandbox-missing") as fault:
        score_in_sandbox(written(tmp_path, "return batch['words']"), pool, LIMITS)
    assert "no permission" in (fault.value.problems[0].where or "")
    assert os.path.exists(tmp_path)
