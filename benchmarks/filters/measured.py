"""Runs a command and says what it took, its children included."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """What a command took."""

    ok: bool
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int
    """Resident memory of its largest process."""
    log: str


def run(
    command: Sequence[str | Path], *, cwd: Path | None = None, variables: Mapping[str, str] | None = None
) -> Measured:
    """Run to the end. Bytecode is kept in a directory of its own, as an ordinary installation keeps it."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(Path(tempfile.gettempdir()) / "bench-pycache"), **(variables or {})}
    with tempfile.TemporaryFile() as log:
        began = time.monotonic()
        child = subprocess.Popen(list(map(str, command)), cwd=cwd, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.monotonic() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read().decode(errors="replace")[-3000:]
    return Measured(child.returncode == 0, usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss * 1024, text)
