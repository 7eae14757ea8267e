"""Looking at and ending a process tree, through /proc."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")
TEARDOWN_SECONDS = 5.0


def descendants(root: int) -> list[int]:
    """Ids of all living descendants of process `root`, children before grandchildren."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and (parent := _parent(int(entry.name))) is not None:
            children.setdefault(parent, []).append(int(entry.name))
    found: list[int] = []
    layer = [root]
    while layer:
        layer = [child for parent in layer for child in children.get(parent, ())]
        found += layer
    return found


def _parent(pid: int) -> int | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return None
    state, parent = stat.rpartition(")")[2].split()[:2]
    return None if state == "Z" else int(parent)


def private_memory(pids: list[int]) -> int:
    """Resident bytes that no file backs, summed over processes."""
    total = 0
    for pid in pids:
        try:
            _, resident, shared, *_ = Path(f"/proc/{pid}/statm").read_text().split()
        except (OSError, ValueError):
            continue
        total += (int(resident) - int(shared)) * PAGE
    return total


def files_in(pid: int, directories: tuple[str, ...]) -> int:
    """How many files lie on the file systems that process `pid` sees at `directories`; 0 where we may not look, and
    where it still sees the host's."""
    total = 0
    for directory in directories:
        seen = f"/proc/{pid}/root{directory}"
        try:
            if os.stat(seen).st_dev != os.stat(directory).st_dev:
                status = os.statvfs(seen)
                total += status.f_files - status.f_ffree
        except OSError:
            continue
    return total


def end(root: int) -> bool:
    """Kill process `root` and all its descendants; False when one is still there after five seconds."""
    deadline = time.monotonic() + TEARDOWN_SECONDS
    family = [*descendants(root), root]
    while time.monotonic() < deadline:
        for pid in family:
            _kill(pid)
        family = [pid for pid in {*family, *descendants(root)} if pid != root and _parent(pid) is not None]
        if not family:
            return True
        time.sleep(0.01)
    return False


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
