"""Small programs in the sandbox, for the tests that prove what each of its layers is for."""

import ctypes
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from datacomp_worker.sandbox.cgroup import Cgroup
from datacomp_worker.sandbox.command import Box
from datacomp_worker.sandbox.layers import ALL, Layers
from datacomp_worker.sandbox.limits import MIB, Limits
from datacomp_worker.sandbox.mounts import Mount
from datacomp_worker.sandbox.process import RESULT_FD, Outcome, nothing, run

PR_SET_CHILD_SUBREAPER = 36
SMALL = Limits(seconds=20, memory=256 * MIB, processes=16, tmp_bytes=16 * MIB, tmp_files=500, file_bytes=8 * MIB)
PRELUDE = """
import ctypes, errno, json, mmap, os, signal, socket, subprocess, sys, time
RESULT = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
def answer(value):
    os.write(RESULT, json.dumps(value).encode())
def attempt(function, *arguments):
    try:
        function(*arguments)
    except (OSError, MemoryError, ValueError) as error:
        return errno.errorcode.get(getattr(error, "errno", None), type(error).__name__)
    return "worked"
def call(number, *arguments):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(number), *(ctypes.c_long(a) for a in arguments))
    return "worked" if done >= 0 else errno.errorcode[ctypes.get_errno()]
"""


def require_bubblewrap() -> None:
    """Skip where the sandbox is not installed; in continuous integration that is a failure."""
    if shutil.which("bwrap") and shutil.which("setpriv"):
        return
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail("bubblewrap and setpriv must be installed here: the sandbox cannot be tested without them")
    pytest.skip("bubblewrap or setpriv is not installed")


@contextmanager
def left_behind() -> Iterator[list[int]]:
    """Gives a list that at the end holds the processes which are still there and were not before; orphans too."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = _children()
    left: list[int] = []
    try:
        yield left
        deadline = time.monotonic() + 1
        while (there := [pid for pid in _children() - before if not _reaped(pid)]) and time.monotonic() < deadline:
            time.sleep(0.02)
        left += there
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _reaped(pid: int) -> bool:
    """Whether a process is dead: those that lost their parent are ours to bury."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return not psutil.pid_exists(pid)


def _children() -> set[int]:
    return {child.pid for child in psutil.Process().children(recursive=True)}


def sleeping(seconds: str) -> list[int]:
    """Processes of this host that run `sleep SECONDS`."""
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and (place / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(int(place.name))
    return found


@dataclass(frozen=True)
class Ran:
    """How a program ended and what it answered."""

    outcome: Outcome
    answer: Any


def boxed(
    source: str,
    *arguments: str,
    layers: Layers = ALL,
    limits: Limits = SMALL,
    mounts: Sequence[Mount] = (),
    check: Callable[[], None] = nothing,
    cgroup: Cgroup | None = None,
) -> Ran:
    """Run a program after the prelude; `sys.argv[2:]` are its arguments."""
    got = bytearray()
    command = [sys.executable, "-I", "-B", "-u", "-c", PRELUDE + source, RESULT_FD, *arguments]
    outcome = run(Box(command, mounts), limits, feed=got.extend, layers=layers, check=check, cgroup=cgroup)
    return Ran(outcome, json.loads(bytes(got)) if got else None)
