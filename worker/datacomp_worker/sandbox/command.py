"""The bubblewrap command line.

Three ways lead in, by who starts the worker:

- an ordinary user: one bubblewrap with a user namespace;
- root with CAP_SYS_ADMIN: an outer bubblewrap lays out the root (root's directories are closed to others), then
  `setpriv` becomes a user id that nobody else has, then the inner bubblewrap shuts everything;
- root without it (a container): `setpriv`, then bubblewrap.

Becoming a real unprivileged user matters: the kernel does not enforce RLIMIT_NPROC for root, not even inside a user
namespace. The user id is fresh for every run, so that runs side by side do not share the count.
"""

from __future__ import annotations

import math
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox.limits import Layers, Limits
from datacomp_worker.sandbox.mounts import Mount, binds, runtime

NOBODY = "65534"
FIRST_UID, UIDS = 2_000_000_000, 100_000_000
"""Range of the user ids that runs started by root get; above any that systems hand out."""
CAP_SYS_ADMIN = 21


class Entry(StrEnum):
    """How the sandbox is entered."""

    USER = "user"
    ROOT = "root"
    CONTAINER_ROOT = "container-root"


@dataclass(frozen=True)
class Box:
    """What to run and what it may see."""

    command: Sequence[str]
    """Inside the sandbox; the first word is an absolute path."""
    mounts: Sequence[Mount] = ()
    environment: Mapping[str, str] | None = None


def entry() -> Entry:
    """How this process would enter."""
    if os.geteuid() != 0:
        return Entry.USER
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return Entry.ROOT if int(line.split()[1], 16) >> CAP_SYS_ADMIN & 1 else Entry.CONTAINER_ROOT
    return Entry.CONTAINER_ROOT


def program(name: str) -> str:
    """Absolute path of a system program; `PlatformFault` when it is not installed."""
    path = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin")
    if path is None:
        hint = "install Debian's packages bubblewrap and util-linux on the worker"
        raise PlatformFault.of("sandbox-missing", f"{name} is not installed", hint=hint)
    return path


def command_line(box: Box, limits: Limits, layers: Layers, seccomp: int) -> list[str]:
    """The whole command. `seccomp` is the descriptor from which bubblewrap reads the filter."""
    inner = _inner(box, limits, layers, seccomp)
    way = entry()
    if way is Entry.USER or not layers.real_uid:
        return inner
    dropped = [*_become(str(FIRST_UID + secrets.randbelow(UIDS))), *inner]
    return dropped if way is Entry.CONTAINER_ROOT else [*_outer(box, layers), *dropped]


def _become(uid: str) -> list[str]:
    drop = ["--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs", "--pdeathsig", "KILL"]
    return [program("setpriv"), "--reuid", uid, "--regid", uid, *drop, "--"]


def _outer(box: Box, layers: Layers) -> list[str]:
    """Lays out the root for the inner one, whose user could not walk through root's own directories.

    It has a process namespace too: when the worker dies, the kernel ends that with all that is in it, whereas this
    bubblewrap has no right to signal the inner one, which is another user's.
    """
    alone = ["--die-with-parent", *(["--unshare-pid"] if layers.processes else [])]
    given = binds(_in_place(box.mounts), read_only=layers.read_only)
    keep = ["--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--dir", "/tmp"]  # noqa: S108
    return [program("bwrap"), *alone, *runtime(), *given, *keep, "--"]


def _in_place(mounts: Sequence[Mount]) -> list[Mount]:
    return [Mount(mount.source.resolve(), mount.source.resolve()) for mount in mounts]


def _inner(box: Box, limits: Limits, layers: Layers, seccomp: int) -> list[str]:
    shut = ["--unshare-user", "--disable-userns", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"]
    shut += ["--unshare-net"] if layers.network else []
    # Bubblewrap's own first process would have no seccomp program, and could be rewritten through /proc/1/mem.
    shut += ["--unshare-pid", "--as-pid-1"] if layers.processes else []
    who = ["--uid", NOBODY, "--gid", NOBODY, "--hostname", "sandbox", "--cap-drop", "ALL", "--clearenv"]
    life = ["--die-with-parent", "--new-session", "--chdir", "/tmp"]  # noqa: S108
    variables = [word for name, value in _environment(box, limits).items() for word in ("--setenv", name, value)]
    seen = [*runtime(), *binds(box.mounts, read_only=layers.read_only)]
    # Its own /tmp comes first: the interpreter or the pool may lie under the host's.
    filesystem = [*_own_filesystems(limits, layers), *seen]
    filesystem += ["--remount-ro", "/", "--remount-ro", "/dev"] if layers.read_only else []
    guard = ["--seccomp", str(seccomp)] if layers.seccomp else []
    bounds = _rlimits(limits) if layers.rlimits else []
    return [program("bwrap"), *shut, *who, *life, *variables, *filesystem, *guard, "--", *bounds, *box.command]


def _rlimits(limits: Limits) -> list[str]:
    """Set inside the user namespace, where the process limit counts only the sandbox's own processes."""
    bounds = {
        "core": 0,
        "nofile": limits.descriptors,
        "fsize": limits.file_bytes,
        "nproc": limits.processes,
        "memlock": 0,
        "msgqueue": 0,
        "sigpending": 1024,
        "data": limits.memory,
        "as": limits.memory + limits.mapped,
        "cpu": math.ceil(limits.seconds) * (os.cpu_count() or 1) + 1,
    }
    return [program("prlimit"), *(f"--{name}={value}:{value}" for name, value in bounds.items()), "--"]


def _own_filesystems(limits: Limits, layers: Layers) -> list[str]:
    size = ["--size", str(limits.tmp_bytes)] if layers.small_tmp else []
    own = ["--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp"]  # noqa: S108
    # A shared mapping of /dev/zero would be memory that nobody counts.
    return [*own, "--dev-bind", "/dev/null", "/dev/zero"]


def _environment(box: Box, limits: Limits) -> dict[str, str]:
    count = str(limits.threads)
    base = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}  # noqa: S108
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_IO_THREADS")
    return base | dict.fromkeys(threads, count) | dict(box.environment or {})
