"""Looking at and ending a process tree, through /proc."""

from __future__ import annotations

import os
import signal
import time
from functools import cache
from pathlib import Path

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


def memory(pids: list[int]) -> int:
    """Bytes that the processes `pids`, which share one network namespace, hold: memory that no file backs, resident or
    swapped out, their page tables, and what the kernel may keep for their sockets."""
    return sum(_private(pid) for pid in pids) + (_sockets(pids[-1]) * _socket_buffer() if pids else 0)


def _private(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:  # it ended meanwhile
        return 0
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(1024 * int(fields[name].split()[0]) for name in ("RssAnon", "VmSwap", "VmPTE") if name in fields)


def _sockets(pid: int) -> int:
    """How many sockets there are in the network namespace of process `pid`, those on their way in messages included;
    0 where it is still the host's."""
    try:
        if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
            return 0
        first = Path(f"/proc/{pid}/net/sockstat").read_text().partition("\n")[0]
    except OSError:
        return 0
    return int(first.split()[-1])


@cache
def _socket_buffer() -> int:
    """The most that the kernel keeps of one socket's unread messages."""
    return 2 * int(Path("/proc/sys/net/core/wmem_max").read_text())


def files_in(pid: int, directories: tuple[str, ...]) -> int:
    """How many files lie on the file systems that process `pid` sees at `directories` (extended attributes count as
    files); 0 where it still sees the host's, and where we may not look, which the self-test refuses."""
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
