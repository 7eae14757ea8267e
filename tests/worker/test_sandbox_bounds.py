"""Time, log, descriptors, environment, and the parser that refuses."""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from boxed import PRELUDE, SMALL, boxed, left_behind, require_bubblewrap

from datacomp.problems import BadInput
from datacomp_worker.sandbox import Limits, without
from datacomp_worker.sandbox.command import Box
from datacomp_worker.sandbox.layers import RLIMITS
from datacomp_worker.sandbox.limits import MIB
from datacomp_worker.sandbox.log import BoundedLog
from datacomp_worker.sandbox.process import RESULT_FD, End, run

pytestmark = pytest.mark.usefixtures("_contained")


@pytest.fixture
def _contained():
    require_bubblewrap()
    with left_behind() as left:
        yield
    assert not left, "processes outlived the test"


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "time.sleep(60)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)",
        "os.close(RESULT); os.close(1); os.close(2); time.sleep(60)",
        "subprocess.Popen(['/usr/bin/sleep', '60']).wait()",
    ],
    ids=["spins", "sleeps", "blocks signals", "closes its pipes", "waits for a child"],
)
def test_time_is_bounded(source: str) -> None:
    started = time.monotonic()
    ran = boxed(source, limits=replace(SMALL, seconds=0.6))
    assert ran.outcome.end is End.TIMEOUT
    assert 0.5 < time.monotonic() - started < 5


def test_a_check_that_raises_ends_it() -> None:
    class Stop(Exception):
        pass

    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Stop

    started = time.monotonic()
    with pytest.raises(Stop):
        boxed("time.sleep(60)", check=check)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("stream", [1, 2])
def test_a_flood_of_output_is_cut_and_ended(stream: int) -> None:
    limits = replace(SMALL, log_bytes=2 * MIB, log_kept=4096)
    ran = boxed(f"while True: os.write({stream}, b'spam ' * 9999)", limits=limits)
    assert ran.outcome.end is End.LOG_FLOOD
    assert len(ran.outcome.log) < 5000
    assert "bytes left out" in ran.outcome.log


def test_control_characters_do_not_reach_terminals() -> None:
    log = boxed("print('a\\x1b[2Jb\\x07\\u202ec\\ttab')").outcome.log
    assert log.startswith("a\ufffd[2Jb\ufffd\ufffdc\ttab")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100_000])
def test_the_log_keeps_both_ends(size: int) -> None:
    log = BoundedLog(8)
    for start in range(0, size, 3):
        log.add(bytes(97 + (start + i) % 26 for i in range(min(3, size - start))))
    whole = "".join(chr(97 + i % 26) for i in range(size))
    text = log.text()
    if size <= 8:
        assert text == whole
    else:
        assert text == f"{whole[:4]}\n[... {size - 8:,} bytes left out ...]\n{whole[-4:]}"


def test_descriptors_are_the_known_ones_and_bounded(tmp_path: Path) -> None:
    secret = (tmp_path / "secret").open("w+")
    os.set_inheritable(secret.fileno(), True)
    source = """
listed = [int(n) for n in os.listdir("/proc/self/fd")]
there = sorted(n for n in listed if n not in (0, 1, 2, RESULT) and os.path.exists(f"/proc/self/fd/{n}"))
count = 0
def more():
    global count
    while count < 400:
        os.dup(0)
        count += 1
answer([there, attempt(more)])
"""
    with secret:
        assert boxed(source).answer == [[], "EMFILE"]
        assert boxed(source, layers=without(*RLIMITS)).answer == [[], "worked"]


def test_the_workers_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_WORKER_TOKEN", "a secret of the worker")
    source = """
seen = json.dumps(dict(os.environ))
for pid in os.listdir("/proc"):
    try: seen += open(f"/proc/{pid}/environ", errors="replace").read()
    except OSError: pass
answer(["a secret" in seen, "PATH" in seen])
"""
    assert boxed(source).answer == [False, True]


def test_a_parser_that_refuses_ends_it_and_gets_the_log() -> None:
    def refuse(block: bytes) -> None:
        raise BadInput.of("filter-result-malformed", "no")

    source = "print('said before', flush=True)\ntime.sleep(0.2)\nanswer(1)\ntime.sleep(60)"
    with pytest.raises(BadInput) as error:
        run(Box([sys.executable, "-I", "-c", PRELUDE + source, RESULT_FD]), Limits(seconds=20), feed=refuse)
    assert "said before" in error.value.log_tail
