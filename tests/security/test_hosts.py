"""Hosts on which the sandbox cannot hold: the worker says what is missing when it starts, and takes no code."""

import os
import shutil
import sys

import pytest
from as_user import BECOME, as_user, in_own_mounts, needed, opening, run
from boxed import require_bubblewrap

from datacomp_worker.app import Presence
from datacomp_worker.pipeline import Worker
from datacomp_worker.sandbox.command import Entry, entry
from datacomp_worker.settings import WorkerSettings

BARE = WorkerSettings(worker_token="t" * 32, worker_name="bare", broker_url="redis://127.0.0.1:1")
SAY = "from datacomp_worker.sandbox import why_no_code; print(why_no_code())"
NO_SECCOMP = """
import ctypes, errno, struct
from datacomp_worker.sandbox import bpf
lines = [bpf.load(bpf.NUMBER_OFFSET)]
lines += bpf.for_number({prctl}, [bpf.load(bpf.argument_offset(0)), *bpf.when_equal(22, bpf.ERRNO | errno.EINVAL)])
lines += bpf.when_equal({seccomp}, bpf.ERRNO | errno.ENOSYS)
program = bpf.assemble([*lines, bpf.give(bpf.ALLOW)])
kept = ctypes.create_string_buffer(program)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(kept)), 0, 0) == 0
"""
NUMBERS = {"x86_64": {"prctl": 157, "seccomp": 317}, "aarch64": {"prctl": 167, "seccomp": 277}}


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    require_bubblewrap()


def said(command: list[str]) -> str:
    done = run(command)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.security
def test_a_whole_host_says_nothing() -> None:
    assert said([sys.executable, "-c", SAY]) == ""


@pytest.mark.parametrize("name", ["bwrap", pytest.param("prlimit", marks=pytest.mark.security)])
def test_a_program_that_is_not_installed(name: str) -> None:
    script = "".join(f"mount --bind /dev/null {path}\n" for path in {shutil.which(name), f"/usr/bin/{name}"} if path)
    reason = said(in_own_mounts(script, sys.executable, "-c", SAY))
    assert reason.startswith(f"sandbox-missing: {name} is not installed")
    assert "bubblewrap" in reason


IN_A_USER_NAMESPACE = """
import ctypes, os, sys
made, mapped = os.pipe(), os.pipe()
child = os.fork()
if child == 0:
    assert ctypes.CDLL(None).unshare(0x10000000) == 0
    os.write(made[1], b"x")
    os.read(mapped[0], 1)
    os.execvp("sh", ["sh", "-e", "-c", sys.argv[1], "sh", *sys.argv[2:]])
os.read(made[0], 1)
for name in ("uid_map", "gid_map"):
    with open(f"/proc/{child}/{name}", "w") as file:
        file.write("0 0 4294967295")
os.write(mapped[1], b"x")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.security
def test_root_that_may_not_look_inside() -> None:
    if os.geteuid() != 0:
        needed("only root can drop capabilities")
    bare = ("setpriv", "--bounding-set", "-sys_admin,-sys_ptrace", "--")
    assert "may not count" in said(in_own_mounts(opening(), *bare, sys.executable, "-c", SAY))


@pytest.mark.security
def test_no_user_namespaces() -> None:
    """In a user namespace of its own, where the sysctl reaches nobody else."""
    if entry() is not Entry.ROOT:
        needed("only root can map all users into a namespace")
    denied = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"'
    command = [sys.executable, "-c", IN_A_USER_NAMESPACE, denied, *BECOME, sys.executable, "-c", SAY]
    reason = said(in_own_mounts(opening(), *command))
    assert reason.startswith("sandbox-missing")
    assert "user namespaces" in reason


@pytest.mark.security
def test_no_seccomp() -> None:
    script = NO_SECCOMP.format(**NUMBERS[os.uname().machine]) + SAY
    reason = said([sys.executable, "-c", script])
    assert reason.startswith("sandbox-missing")
    assert "seccomp" in reason.lower()


@pytest.mark.security
def test_a_masked_proc_as_containers_have_it() -> None:
    if entry() is not Entry.ROOT:
        needed("only root can cover parts of /proc")
    hidden = in_own_mounts(
        "mount -t tmpfs none /proc/scsi || mount -t tmpfs none /proc/fs", *as_user(sys.executable, "-c", SAY)
    )
    reason = said(hidden)
    assert reason.startswith("sandbox-missing")
    assert "proc" in reason
    assert "docker-compose.yml" in reason


def test_a_worker_without_a_sandbox_says_so_whenever_it_asks() -> None:
    asked: list[tuple[object, ...]] = []

    class Api:
        def claim(self, *arguments: object) -> None:
            asked.append(arguments)

    assert Worker(Api(), BARE, ("cpu",), no_code="bwrap is not installed").serve() == 0
    assert asked == [("bare", ["cpu"], "bwrap is not installed")]


def test_it_says_so_with_every_sign_of_life() -> None:
    class Enough(Exception):
        pass

    class Api:
        def hello(self, *arguments: object) -> None:
            raise Enough(*arguments)

    with pytest.raises(Enough) as said:
        Presence(Api(), BARE, ("cpu",), "bwrap is not installed").run()
    assert said.value.args == ("bare", ["cpu"], None, "bwrap is not installed")
