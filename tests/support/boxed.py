"""Small programs in the sandbox, for the tests that prove what each of its layers is for."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from datacomp_worker.sandbox.command import Box
from datacomp_worker.sandbox.limits import MIB, Layers, Limits
from datacomp_worker.sandbox.mounts import Mount
from datacomp_worker.sandbox.process import RESULT_FD, Outcome, nothing, run

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


@dataclass(frozen=True)
class Ran:
    """How a program ended and what it answered."""

    outcome: Outcome
    answer: Any


def boxed(
    source: str,
    *arguments: str,
    layers: Layers | None = None,
    limits: Limits = SMALL,
    mounts: Sequence[Mount] = (),
    check: Callable[[], None] = nothing,
) -> Ran:
    """Run a program after the prelude; `sys.argv[2:]` are its arguments."""
    got = bytearray()
    command = [sys.executable, "-I", "-B", "-u", "-c", PRELUDE + source, RESULT_FD, *arguments]
    outcome = run(Box(command, mounts), limits, feed=got.extend, layers=layers, check=check)
    return Ran(outcome, json.loads(bytes(got)) if got else None)
