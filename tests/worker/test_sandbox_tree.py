"""Processes and memory of the whole tree are bounded and seen to their end; without each layer they are not."""

import os
import signal
import subprocess
import time
from dataclasses import replace

import pytest
from boxed import SMALL, boxed, left_behind, require_bubblewrap, sleeping

from datacomp_worker.sandbox import Layer, without
from datacomp_worker.sandbox.command import Entry, entry
from datacomp_worker.sandbox.layers import RLIMITS
from datacomp_worker.sandbox.process import End
from datacomp_worker.sandbox.seccomp import MACHINES

pytestmark = pytest.mark.usefixtures("_contained")


@pytest.fixture
def _contained():
    require_bubblewrap()
    with left_behind() as left:
        yield
    assert not left, "processes outlived the test"


SEE = """
answer([open(f"/proc/{name}/cmdline").read().split(chr(0))[-2:-1] for name in os.listdir("/proc") if name.isdigit()])
"""


def test_the_hosts_processes_are_not_seen() -> None:
    with subprocess.Popen(["sleep", "47.11"]) as other:
        try:
            assert boxed(SEE, "mine").answer == [["mine"]]
            assert ["47.11"] in boxed(SEE, "mine", layers=without(Layer.PROCESSES)).answer
        finally:
            other.kill()


DAEMON = """
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for fd in range(3):
                os.close(fd)
            os.execv("/usr/bin/sleep", ["sleep", sys.argv[2]])
        os._exit(0)
time.sleep(0.3)
answer("started")
"""


def test_daemons_are_gone_afterwards() -> None:
    name = f"{60 + os.getpid() / 1e7:.7f}"
    assert boxed(DAEMON, name).answer == "started"
    assert not sleeping(name)
    other = f"{61 + os.getpid() / 1e7:.7f}"
    try:
        boxed(DAEMON, other, layers=without(Layer.PROCESSES))
        assert sleeping(other), "without a process namespace they would have stayed"
    finally:
        for pid in sleeping(other):
            os.kill(pid, signal.SIGKILL)


FORKS = """
def start():
    if os.fork() == 0:
        time.sleep(10)
        os._exit(0)
said = [attempt(start) for _ in range(24)]
answer([said.count("worked"), said[-1]])
os.kill(-1, signal.SIGKILL)
"""


def test_the_number_of_processes_is_bounded_even_when_started_by_root() -> None:
    started, last = boxed(FORKS).answer
    assert started < SMALL.processes
    assert last == "EAGAIN"
    assert boxed(FORKS, layers=without(*RLIMITS)).answer == [24, "worked"]
    if entry() is not Entry.USER:
        assert boxed(FORKS, layers=without(Layer.REAL_UID)).answer == [24, "worked"]


def test_threads_count_as_processes() -> None:
    source = """
import threading
held = threading.Event()
def start():
    threading.Thread(target=held.wait, daemon=True).start()
def tries():
    for n in range(40):
        try: start()
        except RuntimeError: return n
    return 40
answer(tries())
os._exit(0)
"""
    assert boxed(source).answer < SMALL.processes


def test_a_fork_bomb_is_ended_in_time() -> None:
    bomb = "while True:\n    try: os.fork()\n    except OSError: pass\n"
    started = time.monotonic()
    assert boxed(bomb, limits=replace(SMALL, seconds=1)).outcome.end is End.TIMEOUT
    assert time.monotonic() - started < 6


def test_killing_everything_in_reach_harms_nobody_outside() -> None:
    source = """
for target in (1, os.getppid(), int(sys.argv[2]), -1):
    attempt(os.kill, target, signal.SIGKILL)
answer("alive")
"""
    ran = boxed(source, str(os.getpid()))
    assert ran.outcome.end is End.EXITED
    assert (ran.answer, ran.outcome.code) in {("alive", 0), (None, 137)}


SPREAD = """
children = []
for _ in range(6):
    if (child := os.fork()) == 0:
        memory = bytearray(64 << 20)
        memory[::4096] = b"x" * len(memory[::4096])
        time.sleep(1.5)
        os._exit(0)
    children.append(child)
answer([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
TAKE = """
answer([attempt(bytearray, 300 << 20), attempt(mmap.mmap, -1, 600 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
        attempt(mmap.mmap, -1, 1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)])
"""


def test_memory_is_bounded_by_process_and_in_all() -> None:
    assert boxed(TAKE).answer == ["MemoryError", "ENOMEM", "EPERM"]
    assert boxed(TAKE, layers=without(*RLIMITS, Layer.WATCHED_MEMORY)).answer == ["worked", "worked", "EPERM"]
    assert boxed(TAKE, layers=without(Layer.SECCOMP)).answer == ["MemoryError", "ENOMEM", "worked"]
    together = boxed(SPREAD)
    assert together.outcome.end is End.MEMORY
    assert together.outcome.peak_memory > SMALL.memory
    assert boxed(SPREAD, layers=without(Layer.WATCHED_MEMORY, Layer.WATCHED_FILES)).answer == [0] * 6


def test_shared_memory_that_nobody_counts_cannot_be_had() -> None:
    source = """
def zero():
    with open("/dev/zero", "r+b") as file:
        mmap.mmap(file.fileno(), 1 << 20)
answer([attempt(zero), attempt(lambda: os.memfd_create("x")), call(int(sys.argv[2]), 0, 1 << 20, 0o1600)])
"""
    number = MACHINES[os.uname().machine].numbers["shmget"]
    said = boxed(source, str(number)).answer
    assert said[0] != "worked"
    assert said[1:] == ["ENOSYS", "EPERM"]
    assert boxed(source, str(number), layers=without(Layer.SECCOMP)).answer[1:] == ["worked", "worked"]
