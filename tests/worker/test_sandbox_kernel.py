"""System calls, namespaces and powers."""

import json
import os

import pytest
from boxed import boxed, left_behind, require_bubblewrap

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox import Layer, without
from datacomp_worker.sandbox.bpf import assemble, give
from datacomp_worker.sandbox.seccomp import AARCH64, INSPECTED, MACHINES, X86_64, program

pytestmark = pytest.mark.usefixtures("_contained")


@pytest.fixture
def _contained():
    require_bubblewrap()
    with left_behind() as left:
        yield
    assert not left, "processes outlived the test"


CALLS = """
numbers = json.loads(sys.argv[2])
answer({name: call(number, -1, -1, -1, -1, -1, -1) for name, number in numbers.items()})
"""


def test_every_listed_call_is_refused() -> None:
    machine = MACHINES[os.uname().machine]
    numbers = json.dumps({name: number for name, number in machine.numbers.items() if name not in INSPECTED})
    said = boxed(CALLS, numbers).answer
    assert len(said) > 60
    assert {name: word for name, word in said.items() if word not in {"EPERM", "ENOSYS"}} == {}
    absent = {"clone3", "io_uring_setup", "memfd_create"}
    assert {said[name] for name in absent} == {"ENOSYS"}


ESCAPES = """
from pathlib import Path
n = json.loads(sys.argv[2])
libc.prctl(4, 1)
answer({
    "personality": call(n["personality"], 0xFFFFFFFF),
    "ptrace": call(n["ptrace"], 0, 0, 0, 0),
    "memfd_create": call(n["memfd_create"], ctypes.addressof(ctypes.create_string_buffer(b"x")), 0),
    "msgget": call(n["msgget"], 0, 0o1600),
    "semget": call(n["semget"], 0, 1, 0o1600),
    "process_vm_readv": call(n["process_vm_readv"], os.getpid(), 0, 0, 0, 0, 0),
    "kcmp": call(n["kcmp"], os.getpid(), os.getpid(), 0, 0, 1),
    "pidfd_open": call(n["pidfd_open"], os.getpid(), 0),
})
"""


def test_without_seccomp_calls_work_that_it_refuses() -> None:
    numbers = json.dumps(MACHINES[os.uname().machine].numbers)
    assert set(boxed(ESCAPES, numbers).answer.values()) <= {"EPERM", "ENOSYS"}
    bare = boxed(ESCAPES, numbers, layers=without(Layer.SECCOMP)).answer
    worked = [name for name, word in bare.items() if word == "worked"]
    assert {"personality", "memfd_create", "msgget", "semget", "ptrace"} <= set(worked), bare


def test_namespaces_terminals_and_other_architectures() -> None:
    source = """
n = json.loads(sys.argv[2])
def in_child(number, *arguments):
    child = os.fork()
    if child == 0:
        call(number, *arguments)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
answer({
    "clone": [call(n["clone"], 0x10000000 | 17, 0, 0, 0, 0), call(n["clone"], 0x20000 | 17, 0, 0, 0, 0)],
    "tiocsti": call(n["ioctl"], 0, 0x5412, ctypes.addressof(ctypes.create_string_buffer(b"x"))),
    "families": [attempt(socket.socket, family, socket.SOCK_STREAM) for family in (2, 10, 16, 17, 40)],
    "tty": attempt(open, "/dev/tty"),
    "x32": in_child(0x40000000 + 39) if os.uname().machine == "x86_64" else -31,
    "unshare": call(n["unshare"], 0x10000000),
})
"""
    said = boxed(source, json.dumps(MACHINES[os.uname().machine].numbers)).answer
    assert said["clone"] == ["EPERM", "EPERM"]
    assert said["tiocsti"] == "EPERM"
    assert set(said["families"]) == {"EPERM"}
    assert said["tty"] != "worked"
    assert said["x32"] == -31
    assert said["unshare"] == "EPERM"


def test_powers_are_gone() -> None:
    source = """
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines() if ":\\t" in line)
answer([int(status[c], 16) for c in ("CapPrm", "CapEff", "CapBnd", "CapAmb")] + [os.getuid(), os.geteuid(),
       attempt(os.setuid, 0), attempt(os.chroot, "/tmp"), attempt(os.mknod, "/tmp/sda", 0o60600, 0x800),
       attempt(open, "/proc/kcore", "rb"), attempt(open, "/proc/sys/kernel/core_pattern", "w"),
       attempt(open, "/proc/sysrq-trigger", "w"), attempt(open, "/proc/1/root/etc/shadow")])
"""
    said = boxed(source).answer
    assert said[:6] == [0, 0, 0, 0, 65534, 65534]
    assert "worked" not in said[6:]


def test_no_process_in_reach_is_without_seccomp() -> None:
    """One that had no program could be rewritten through /proc/PID/mem, and made to do what ours may not."""
    source = """
pids = [name for name in os.listdir("/proc") if name.isdigit()]
answer([open(f"/proc/{pid}/status").read().split("Seccomp:")[1].split()[0] for pid in pids])
"""
    assert boxed(source).answer == ["2"]


def test_seccomp_programs_of_both_architectures_assemble() -> None:
    for machine in ("x86_64", "aarch64"):
        assert len(program(machine)) % 8 == 0
        assert len(program(machine)) > 8 * 100
    assert set(X86_64.numbers) - set(AARCH64.numbers) <= set(X86_64.numbers)
    with pytest.raises(PlatformFault, match="sandbox-missing"):
        program("m68k")
    with pytest.raises(ValueError, match="4096"):
        assemble([give(0)] * 5000)
