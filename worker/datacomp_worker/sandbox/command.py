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
import resource
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox.layers import Layer, Layers
from datacomp_worker.sandbox.limits import Limits
from datacomp_worker.sandbox.mounts import Mount, binds, runtime

NOBODY = "65534"
FIRST_UID, UIDS = 2_000_000_000, 100_000_000
"""Range of the user ids that runs started by root get; above any that systems hand out."""
CAP_SYS_PTRACE, CAP_SYS_ADMIN = 19, 21


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
    return Entry.ROOT if _holds(CAP_SYS_ADMIN) else Entry.CONTAINER_ROOT


def may_look_inside() -> bool:
    """Whether this process may count the files in its sandboxes: an ordinary user owns their namespaces, root needs a
    capability to look at what it runs as another user."""
    return os.geteuid() != 0 or _holds(CAP_SYS_PTRACE)


def _holds(capability: int) -> bool:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> capability & 1)
    return False


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
    if way is Entry.USER or Layer.REAL_UID not in layers:
        return [*no_core(layers), *inner]
    dropped = [*_become(str(FIRST_UID + secrets.randbelow(UIDS)), layers), *inner]
    entered = dropped if way is Entry.CONTAINER_ROOT else [*_outer(box, layers), *dropped]
    return [*no_core(layers), *entered]


def no_core(layers: Layers) -> list[str]:
    """A crash leaves no core, and wakes no handler of the host's.

    Where `kernel.core_pattern` is a pipe, the kernel starts that program outside, as root, whatever the limit, but for
    a limit of one byte (fs/coredump.c). It is set out here, because inside seccomp refuses to change it.
    """
    if Layer.CORE not in layers:
        return []
    _, most = resource.getrlimit(resource.RLIMIT_CORE)
    bytes_ = 0 if most == 0 else 1
    return [program("prlimit"), f"--core={bytes_}:{bytes_}", "--"]


def _become(uid: str, layers: Layers) -> list[str]:
    drop = ["--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all", "--no-new-privs"]
    life = ["--pdeathsig", "KILL"] if Layer.DIES_WITH_WORKER in layers else []
    return [program("setpriv"), "--reuid", uid, "--regid", uid, *drop, *life, "--"]


def _outer(box: Box, layers: Layers) -> list[str]:
    """Lays out the root for the inner one, whose user could not walk through root's own directories.

    It has a process namespace too: when the worker dies, the kernel ends that with all that is in it, whereas this
    bubblewrap has no right to signal the inner one, which is another user's.
    """
    alone = ["--die-with-parent"] if Layer.DIES_WITH_WORKER in layers else []
    alone += ["--unshare-pid"] if Layer.PROCESSES in layers else []
    given = binds(_in_place(box.mounts), read_only=Layer.READ_ONLY in layers)
    keep = ["--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev", "--dir", "/tmp"]  # noqa: S108
    return [program("bwrap"), *alone, *_root(layers), *given, *keep, "--"]


def _in_place(mounts: Sequence[Mount]) -> list[Mount]:
    return [Mount(mount.source.resolve(), mount.source.resolve()) for mount in mounts]


def _root(layers: Layers) -> list[str]:
    host = [] if Layer.PRIVATE_ROOT in layers else ["/etc", "/home", "/run", "/var"]
    return [*runtime(), *(word for path in host for word in ("--ro-bind", path, path))]


_SHUT: dict[Layer, list[str]] = {
    Layer.USER_NAMESPACE: ["--unshare-user"],
    Layer.NO_NESTING: ["--disable-userns"],
    Layer.IPC: ["--unshare-ipc"],
    Layer.UTS: ["--unshare-uts", "--hostname", "sandbox"],
    Layer.CGROUP_NAMESPACE: ["--unshare-cgroup-try"],
    Layer.NETWORK: ["--unshare-net"],
    Layer.PROCESSES: ["--unshare-pid"],
    # Else the first process is bubblewrap's own: its command line names the host's paths, and in older versions it has
    # no seccomp program and could be rewritten through /proc/1/mem.
    Layer.FIRST_PROCESS: ["--as-pid-1"],
    Layer.NOBODY: ["--uid", NOBODY, "--gid", NOBODY],
    Layer.NO_CAPABILITIES: ["--cap-drop", "ALL"],
    Layer.CLEAR_ENVIRONMENT: ["--clearenv"],
    Layer.DIES_WITH_WORKER: ["--die-with-parent"],
    Layer.OWN_SESSION: ["--new-session"],
}


def _inner(box: Box, limits: Limits, layers: Layers, seccomp: int) -> list[str]:
    shut = [word for layer, words in _SHUT.items() if layer in layers for word in words]
    variables = [word for name, value in _environment(box, limits).items() for word in ("--setenv", name, value)]
    # Its own /tmp comes first: the interpreter or the pool may lie under the host's.
    seen = [*_own_filesystems(limits, layers), *_root(layers)]
    seen += [*binds(box.mounts, read_only=Layer.READ_ONLY in layers), "--chdir", "/tmp"]  # noqa: S108
    sealed = ["--remount-ro", "/", "--remount-ro", "/dev"] if Layer.SEALED_ROOT in layers else []
    guard = ["--seccomp", str(seccomp)] if Layer.SECCOMP in layers else []
    bounds = _rlimits(limits, layers)
    return [program("bwrap"), *shut, *variables, *seen, *sealed, *guard, "--", *bounds, *box.command]


def bounds(limits: Limits) -> dict[Layer, int]:
    """What every process inside is held to."""
    return {
        Layer.NOFILE: limits.descriptors,
        Layer.FSIZE: limits.file_bytes,
        Layer.NPROC: limits.processes,
        Layer.MEMLOCK: 0,
        Layer.MSGQUEUE: 0,
        Layer.SIGPENDING: 1024,
        Layer.DATA: limits.memory,
        Layer.AS: limits.memory + limits.mapped,
        Layer.CPU: math.ceil(limits.seconds) * (os.cpu_count() or 1) + 1,
        Layer.RTPRIO: 0,
        Layer.NICE: 0,
    }


def _rlimits(limits: Limits, layers: Layers) -> list[str]:
    """Set inside the user namespace, where the process limit counts only the sandbox's own processes."""
    up = {layer: value for layer, value in bounds(limits).items() if layer in layers}
    words = [f"--{layer.removeprefix('limit-')}={value}:{value}" for layer, value in up.items()]
    return [program("prlimit"), *words, "--"] if words else []


def _own_filesystems(limits: Limits, layers: Layers) -> list[str]:
    size = ["--size", str(limits.tmp_bytes)] if Layer.SMALL_TMP in layers else []
    own = ["--proc", "/proc", "--dev", "/dev", *size, "--tmpfs", "/dev/shm", *size, "--tmpfs", "/tmp"]  # noqa: S108
    return [*own, *(["--dev-bind", "/dev/null", "/dev/zero"] if Layer.NO_ZERO in layers else [])]


def _environment(box: Box, limits: Limits) -> dict[str, str]:
    count = str(limits.threads)
    base = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", "TZ": "UTC"}  # noqa: S108
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "ARROW_IO_THREADS")
    return base | dict.fromkeys(threads, count) | dict(box.environment or {})
