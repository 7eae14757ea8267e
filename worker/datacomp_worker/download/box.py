"""What a decoder that a picture has taken over would hold: nothing.

The downloading process runs under bubblewrap where the host allows it: user, process, IPC and mount namespaces of its
own, no capabilities, the seccomp program of participants' filters (but for TCP and UDP), a root that is read-only and
has the interpreter, the system's libraries, name service and certificates in it, a /tmp in memory, and the folders of
this one download. The host's network stays, because images come from it; whom the process connects to is its own code's
say (`network`).
"""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Literal

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox import seccomp
from datacomp_worker.sandbox.command import NOBODY, no_core, program
from datacomp_worker.sandbox.layers import ALL
from datacomp_worker.sandbox.mounts import Mount, binds, runtime

logger = logging.getLogger(__name__)
Boxing = Literal["auto", "require", "off"]
"""`auto`: where the host allows it, with a warning where it does not; `require`: nothing is fetched without."""
MEMORY = 8 << 30
PROCESSES = 4096
"""And threads; the kernel does not hold root to it."""
FILES = 8192
TMP_BYTES = 1 << 30
PROBE_SECONDS = 30
NETWORK = (
    "/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/gai.conf", "/etc/host.conf", "/etc/services",
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/ssl/cert.pem", "/etc/pki/tls", "/etc/pki/ca-trust",
)  # fmt: skip
"""What name look-ups and TLS read; no private keys are among them."""
CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def boxed(
    command: Sequence[str],
    environment: Mapping[str, str],
    guard: int,
    *,
    read: Sequence[Path] = (),
    write: Sequence[Path] = (),
    memory: int = MEMORY,
    file_bytes: int | None = None,
) -> list[str]:
    """A command with the box around it. `guard`: descriptor from which bubblewrap reads the seccomp program, see
    `guarding`. `read` and `write` are seen where they are; paths within must be absolute."""
    # The command is the first process: bubblewrap's own, which has no seccomp program, must not be in reach.
    shut = [
        "--unshare-user", "--disable-userns", "--unshare-ipc", "--unshare-pid", "--as-pid-1", "--unshare-uts",
        "--unshare-cgroup-try", "--uid", NOBODY, "--gid", NOBODY, "--cap-drop", "ALL", "--hostname", "fetch",
        "--die-with-parent", "--new-session", "--clearenv",
    ]  # fmt: skip
    inside = dict(environment) | {"HOME": "/tmp", "TMPDIR": "/tmp"}  # noqa: S108 - the box's own
    variables = [word for name, value in inside.items() for word in ("--setenv", name, value)]
    own = ["--proc", "/proc", "--dev", "/dev"]
    own += [word for at in ("/dev/shm", "/tmp") for word in ("--size", str(TMP_BYTES), "--tmpfs", at)]  # noqa: S108
    certificates = [environment[name] for name in CERTIFICATES if name in environment]
    system = [word for path in (*NETWORK, *certificates) for word in ("--ro-bind-try", path, path)]
    seen = [*binds([_in_place(_worker_package()), *map(_in_place, read)])]
    seen += binds([_in_place(path) for path in write], read_only=False)
    bounds = [f"--data={memory}", f"--nproc={PROCESSES}", f"--nofile={FILES}", "--memlock=0"]
    bounds += [f"--fsize={file_bytes}"] if file_bytes else []
    return [
        *no_core(ALL), program("bwrap"), *shut, *variables, *own, *runtime(), *system, *seen, "--remount-ro", "/",
        "--chdir", "/tmp", "--seccomp", str(guard), "--", program("prlimit"), *bounds, "--", *command,  # noqa: S108
    ]  # fmt: skip


def guarding() -> IO[bytes]:
    """The box's seccomp program, for bubblewrap to inherit. `PlatformFault` for an unknown architecture."""
    return seccomp.in_pipe(network=True)


def _in_place(path: Path) -> Mount:
    return Mount(path, path.absolute())


def _worker_package() -> Path:
    spec = find_spec("datacomp_worker")
    if spec is None or spec.origin is None:
        raise PlatformFault.of("fetch-box", "the package datacomp_worker is not installed", hint="install datacomp")
    return Path(spec.origin).parent


@cache
def why_no_box() -> str:
    """Why this host cannot run a download in the box; empty where it can. Tried once."""
    try:
        with guarding() as guard:
            command = boxed([sys.executable, "-c", "import socket, datacomp_worker"], {}, guard.fileno())
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, timeout=PROBE_SECONDS, pass_fds=(guard.fileno(),)
            )
    except PlatformFault as fault:
        return fault.problems[0].message
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]


def use_box(boxing: Boxing) -> bool:
    """Whether to use it. `PlatformFault` where it is required and the host cannot."""
    if boxing == "off":
        return False
    why = why_no_box()
    if why and boxing == "require":
        hint = "install bubblewrap and allow user namespaces, or set DATACOMP_FETCH_BOX"
        raise PlatformFault.of("fetch-box", f"this host cannot shut the downloading process in: {why}", hint=hint)
    if why:
        logger.warning("images are fetched by a process that is not shut in: %s", why)
    return not why
