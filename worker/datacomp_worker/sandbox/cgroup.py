"""Limits on a whole tree by cgroup v2, where the host has one that the worker may write to.

Elsewhere the limits per process (rlimits) and the watchdog, which sums up the tree ten times a second, stand alone.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from datacomp_worker.sandbox.limits import Limits

ROOT = Path("/sys/fs/cgroup")
CONTROLLERS = ("memory", "pids")


@dataclass(frozen=True)
class Group:
    """The cgroup of one run."""

    path: Path

    def enter_command(self) -> list[str]:
        """Words that put a command before them into the group, before its first instruction."""
        return ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs")]

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel killed something in the group for memory."""
        for line in _read(self.path / "memory.events").splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill" and count.strip() not in {"", "0"}:
                return True
        return False


@dataclass(frozen=True)
class Cgroup:
    """A directory under which groups can be made."""

    path: Path

    @contextmanager
    def child(self, limits: Limits) -> Iterator[Group]:
        """A group with `limits`, removed at the end with whatever is in it."""
        path = self.path / f"datacomp-{secrets.token_hex(8)}"
        path.mkdir()
        try:
            for name, value in _settings(limits).items():
                if (path / name).exists():
                    (path / name).write_text(value)
            yield Group(path)
        finally:
            _remove(path)


def _settings(limits: Limits) -> dict[str, str]:
    return {
        "memory.max": str(limits.memory + 2 * limits.tmp_bytes),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": str(limits.processes + 8),  # bubblewrap's own few
    }


def find(configured: Path | None = None) -> Cgroup | None:
    """The configured directory, or this process's own cgroup, when groups with both controllers can be made there."""
    path = configured or _own()
    if path is None or not os.access(path, os.W_OK):
        return None
    enabled = _read(path / "cgroup.subtree_control").split()
    return Cgroup(path) if all(name in enabled for name in CONTROLLERS) else None


def _own() -> Path | None:
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            return ROOT / line[3:].lstrip("/")
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _remove(path: Path) -> None:
    """Kill what is in the group and remove it; the kernel needs a moment between the two."""
    kill = path / "cgroup.kill"
    if kill.exists():
        kill.write_text("1")
    for _ in range(100):
        try:
            path.rmdir()
        except OSError:
            time.sleep(0.01)
        else:
            return
