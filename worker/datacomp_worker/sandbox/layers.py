"""The layers of the sandbox, one by one. All are up outside the tests that prove what each is for."""

from __future__ import annotations

from enum import StrEnum


class Layer(StrEnum):
    """One thing that stands between participants' code and the host."""

    USER_NAMESPACE = "user-namespace"
    NO_NESTING = "disable-userns"
    """No further user namespace can be made inside."""
    IPC = "ipc-namespace"
    UTS = "uts-namespace"
    CGROUP_NAMESPACE = "cgroup-namespace"
    NETWORK = "network-namespace"
    PROCESSES = "process-namespace"
    FIRST_PROCESS = "as-pid-1"
    """The code is the first process: no process of bubblewrap's, which has no seccomp program, is in reach."""
    PRIVATE_ROOT = "private-root"
    """A root of named directories, instead of the host's read-only."""
    READ_ONLY = "read-only-binds"
    SEALED_ROOT = "sealed-root"
    """The root itself and /dev are read-only."""
    NO_ZERO = "no-dev-zero"
    """No /dev/zero, whose shared mappings are memory that nobody counts."""
    SMALL_TMP = "tmpfs-size"
    REAL_UID = "real-uid"
    """Started by root: become an unprivileged user before anything else."""
    NOBODY = "uid-65534"
    NO_CAPABILITIES = "cap-drop"
    CLEAR_ENVIRONMENT = "clearenv"
    OWN_SESSION = "new-session"
    DIES_WITH_WORKER = "die-with-parent"
    SECCOMP = "seccomp"
    CORE = "limit-core"
    NOFILE = "limit-nofile"
    FSIZE = "limit-fsize"
    NPROC = "limit-nproc"
    MEMLOCK = "limit-memlock"
    MSGQUEUE = "limit-msgqueue"
    SIGPENDING = "limit-sigpending"
    DATA = "limit-data"
    AS = "limit-as"
    CPU = "limit-cpu"
    RTPRIO = "limit-rtprio"
    NICE = "limit-nice"
    WALL_CLOCK = "wall-clock"
    LOG_BOUND = "log-bound"
    WATCHED_MEMORY = "watched-memory"
    """The memory of the whole tree, summed ten times a second."""
    WATCHED_FILES = "watched-files"


Layers = frozenset[Layer]
ALL: Layers = frozenset(Layer)
RLIMITS = tuple(layer for layer in Layer if layer.startswith("limit-"))
_NEEDS = {
    Layer.NO_NESTING: Layer.USER_NAMESPACE,
    Layer.NOBODY: Layer.USER_NAMESPACE,
    Layer.FIRST_PROCESS: Layer.PROCESSES,
}


def without(*layers: Layer) -> Layers:
    """All layers but these and those that cannot stand without them."""
    off = {*layers, *(layer for layer, needed in _NEEDS.items() if needed in layers)}
    return ALL - off
