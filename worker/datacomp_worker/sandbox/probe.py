"""What the self-test runs inside the sandbox: tries what must not work, and says what did.

probe.py RESULT_DESCRIPTOR FACTS, with FACTS as JSON: `namespaces` of the host, `canary` (a file of the host that must
not be seen), `host` (its name), `processes`, `memory` and `tmp` (their bounds), `limits` (by name). Beside this file
lies `given`, which anybody may write to, but for the sandbox. Writes `{"trouble": [...]}` to the descriptor. Needs
nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import resource
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

CLONE_NEWUSER = 0x10000000
NOBODY = 65534
RLIMIT_NICE = 13
"""Which the module `resource` does not name."""
HOST_PATHS = ("/etc/passwd", "/etc/shadow", "/home", "/var", "/run", "/sys", "/boot")
VARIABLES = frozenset({"PATH", "HOME", "TMPDIR", "LANG", "TZ", "PWD", "LC_CTYPE"})


def main(descriptor: int, facts: dict[str, Any]) -> None:
    """Try everything and report."""
    trouble = [f"{check.__name__}: {what}" for check in CHECKS for what in check(facts, descriptor)]
    os.write(descriptor, json.dumps({"trouble": trouble}).encode())


def network(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """No socket but AF_UNIX; no interface but a loopback that is the sandbox's own."""
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK):
        if _works(partial(_open_socket, family)):
            yield f"a socket of family {family.name} can be opened"
    interfaces = [line.partition(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:]]
    if interfaces != ["lo"]:
        yield f"there are interfaces: {', '.join(interfaces)}"


def namespaces(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """Every namespace is another one than the host's; the first process is the sandbox's own."""
    for name, host in facts["namespaces"].items():
        if os.readlink(f"/proc/self/ns/{name}") == host:
            yield f"shares the host's {name} namespace"


def files(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """The host's files are not there, and nothing outside /tmp and /dev/shm can be written."""
    for path in (*HOST_PATHS, facts["canary"]):
        if os.path.exists(path):
            yield f"sees {path}"
    places = ["/", "/usr", "/etc", "/dev", "/proc", sys.prefix, os.path.dirname(__file__), os.path.dirname(os.__file__)]
    for place in places:
        if _works(Path(place, "datacomp-probe").touch):
            yield f"can write to {place}"
    if _works(partial(os.open, os.path.join(os.path.dirname(__file__), "given"), os.O_WRONLY)):
        yield "can change what it is given to read"
    for place in ("/tmp", "/dev/shm"):  # noqa: S108 - the sandbox's own
        status = os.statvfs(place)
        if status.f_blocks * status.f_frsize > facts["tmp"]:
            yield f"{place} is larger than its limit"


def privileges(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """An unprivileged user, no capability, none to be had."""
    if (os.getuid(), os.geteuid(), os.getgid()) != (NOBODY, NOBODY, NOBODY):
        yield f"runs as user {os.getuid()}"
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        if int(status[name], 16):
            yield f"holds capabilities ({name})"
    if status["NoNewPrivs"] != "1":
        yield "can gain privileges by exec"
    if status["Seccomp"] != "2":
        yield "no seccomp program is loaded"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER) == 0:
        yield "can make a user namespace"


def descriptors(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """Standard ones, the result's, and no other."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) not in {0, 1, 2, descriptor} and os.path.exists(f"/proc/self/fd/{name}"):
            target = os.readlink(f"/proc/self/fd/{name}")
            if not target.startswith("/proc/"):  # that of this very listing
                yield f"descriptor {name} is open: {target}"


def environment(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """Nothing of the worker's environment."""
    for name in os.environ:
        if name not in VARIABLES and not name.endswith("_THREADS"):
            yield f"sees the variable {name}"


def session(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """A session, a name and a first process of its own."""
    if os.getsid(0) == 0:
        yield "shares the worker's session"
    if os.uname().nodename == facts["host"]:
        yield "knows the host's name"
    if "--ro-bind" in Path("/proc/1/cmdline").read_text():
        yield "sees the command that made the sandbox"


def limits(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """Every resource limit is set and cannot be raised."""
    for name, most in facts["limits"].items():
        _, hard = resource.getrlimit(getattr(resource, f"RLIMIT_{name.upper()}", RLIMIT_NICE))
        if hard < 0 or hard > most:
            yield f"the limit {name} is {hard}, not {most}"


def uncounted(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """No memory that nobody counts: shared mappings, record locks."""
    attempts: dict[str, Callable[[], object]] = {
        "shared anonymous memory": partial(mmap.mmap, -1, 1 << 16, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS),
        "a memory file": partial(os.memfd_create, "probe"),
        "a shared mapping of /dev/zero": _map_zero,
        "a record lock": _lock,
        "cores": partial(resource.setrlimit, resource.RLIMIT_CORE, (0, 0)),
    }
    for name, attempt in attempts.items():
        if _works(attempt):
            yield f"can have or change {name}"


def memory(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """One process cannot have more than the limit."""
    if _works(partial(_take_memory, facts["memory"] + (1 << 20))):
        yield "can take more memory than its limit"


def processes(facts: dict[str, Any], descriptor: int) -> Iterator[str]:
    """The process limit holds: there are fewer children than it names. (It does not for a user who is root outside.)"""
    reading, writing = os.pipe()
    children: list[int] = []
    try:
        while len(children) <= facts["processes"]:
            child = os.fork()
            if child == 0:
                os.close(writing)
                os.read(reading, 1)  # until the parent has closed its end
                os._exit(0)
            children.append(child)
    except OSError:
        return
    finally:
        os.close(writing)
        for child in children:
            os.waitpid(child, 0)
    yield f"can start {len(children)} processes"


def _open_socket(family: socket.AddressFamily) -> None:
    socket.socket(family, socket.SOCK_DGRAM).close()


def _take_memory(size: int) -> None:
    mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()


def _map_zero() -> None:
    with open("/dev/zero", "r+b") as file:
        mmap.mmap(file.fileno(), 1 << 16).close()


def _lock() -> None:
    with open("/tmp/lock", "w") as file:  # noqa: S108 - the sandbox's own
        fcntl.lockf(file, fcntl.LOCK_EX)


def _works(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except (OSError, ValueError, MemoryError):
        return False
    return True


CHECKS = (
    network, namespaces, files, privileges, descriptors, environment, session, limits, uncounted, memory, processes,
)  # fmt: skip

if __name__ == "__main__":
    main(int(sys.argv[1]), json.loads(sys.argv[2]))
