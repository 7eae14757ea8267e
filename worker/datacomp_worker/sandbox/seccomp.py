"""Which system calls participants' code may not make, as the program that bubblewrap loads. The process that downloads
has the same one, but for sockets of TCP and UDP.

A list of refusals rather than of permissions: namespaces, mounts and capabilities already take the powers away; this
closes the parts of the kernel that have been the way out of other sandboxes, all sockets but AF_UNIX, and shared
anonymous memory, which stays allocated when its pages are given back and so escapes both rlimits and the watchdog, and
record locks, which are kernel memory that no limit bounds, and asynchronous input and output, whose number the whole
host shares.
"""

from __future__ import annotations

import errno
import os
import platform
from dataclasses import dataclass
from typing import IO

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox import bpf

AF_UNIX, AF_INET, AF_INET6 = 1, 2, 10
PLAIN_PROTOCOLS = (0, 6, 17)
"""What the family has by default, TCP, UDP; others are corners of the kernel that no download needs."""
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}; a time namespace can only be had from unshare and clone3."""
MAP_SHARED, MAP_ANONYMOUS = 0x01, 0x20
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
RECORD_LOCKS = (6, 7, 37, 38)
"""F_SETLK, F_SETLKW, F_OFD_SETLK, F_OFD_SETLKW: any number of them on one file."""
RLIMIT_CORE = 4
X32_BIT = 0x40000000

ABSENT = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register", "memfd_create", "memfd_secret", "io_setup")
"""Answered with ENOSYS, so that the C library falls back to what can be inspected (clone for clone3)."""


@dataclass(frozen=True)
class Machine:
    """One processor architecture: its audit number and the numbers of the calls we treat."""

    audit: int
    numbers: dict[str, int]
    x32: bool = False


_GENERIC = {
    # one number on every architecture since 5.1
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442,
    "quotactl_fd": 443, "memfd_secret": 447, "process_mrelease": 448, "open_tree_attr": 467,
}  # fmt: skip

X86_64 = Machine(
    audit=0xC000003E,
    x32=True,
    numbers=_GENERIC
    | {
        "mmap": 9, "ioctl": 16, "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "socketpair": 53, "clone": 56,
        "semget": 64, "semop": 65, "semctl": 66, "msgget": 68, "msgsnd": 69, "msgrcv": 70, "msgctl": 71, "fcntl": 72,
        "ptrace": 101, "syslog": 103, "uselib": 134, "personality": 135, "ustat": 136, "sysfs": 139, "vhangup": 153,
        "modify_ldt": 154, "pivot_root": 155, "_sysctl": 156, "adjtimex": 159, "setrlimit": 160,
        "chroot": 161, "acct": 163,
        "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168, "reboot": 169,
        "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173, "create_module": 174,
        "init_module": 175, "delete_module": 176, "get_kernel_syms": 177, "query_module": 178, "quotactl": 179,
        "nfsservctl": 180, "io_setup": 206, "lookup_dcookie": 212, "remap_file_pages": 216, "semtimedop": 220,
        "clock_settime": 227,
        "mbind": 237, "set_mempolicy": 238, "mq_open": 240, "kexec_load": 246, "add_key": 248, "request_key": 249,
        "keyctl": 250, "migrate_pages": 256, "unshare": 272, "vmsplice": 278, "move_pages": 279, "perf_event_open": 298,
        "fanotify_init": 300, "name_to_handle_at": 303, "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308,
        "prlimit64": 302,
        "process_vm_readv": 310, "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "memfd_create": 319,
        "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
    },
)  # fmt: skip

AARCH64 = Machine(
    audit=0xC00000B7,
    numbers=_GENERIC
    | {
        "io_setup": 0, "lookup_dcookie": 18, "fcntl": 25, "ioctl": 29, "umount2": 39, "mount": 40, "pivot_root": 41,
        "nfsservctl": 42, "chroot": 51, "vhangup": 58, "quotactl": 60, "vmsplice": 75, "acct": 89, "personality": 92,
        "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106, "clock_settime": 112, "syslog": 116,
        "ptrace": 117, "reboot": 142, "sethostname": 161, "setdomainname": 162, "setrlimit": 164,
        "settimeofday": 170, "adjtimex": 171,
        "mq_open": 180, "msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190, "semctl": 191,
        "semtimedop": 192, "semop": 193, "shmget": 194, "shmctl": 195, "shmat": 196, "socket": 198,
        "socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220, "mmap": 222, "swapon": 224,
        "swapoff": 225, "remap_file_pages": 234, "mbind": 235, "set_mempolicy": 237, "migrate_pages": 238,
        "move_pages": 239, "perf_event_open": 241, "fanotify_init": 262, "name_to_handle_at": 264,
        "prlimit64": 261, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "kcmp": 272, "finit_module": 273, "memfd_create": 279, "bpf": 280,
        "userfaultfd": 282, "kexec_file_load": 294,
    },
)  # fmt: skip

MACHINES = {"x86_64": X86_64, "aarch64": AARCH64}
INSPECTED = ("ioctl", "socket", "socketpair", "clone", "mmap", "fcntl", "setrlimit", "prlimit64")
"""Refused by their arguments."""


def program(machine: str | None = None, *, network: bool = False) -> bytes:
    """The seccomp program for a machine (default: this one), with or without TCP and UDP; `PlatformFault` for an
    unknown architecture."""
    name = machine or platform.machine()
    if name not in MACHINES:
        hint = f"participants' code can be run on {' or '.join(MACHINES)}"
        raise PlatformFault.of("sandbox-missing", f"no seccomp program for architecture {name}", hint=hint)
    return bpf.assemble(_instructions(MACHINES[name], network=network))


def in_pipe(*, network: bool = False) -> IO[bytes]:
    """The program in a pipe, as bubblewrap wants it."""
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as file:
        file.write(program(network=network))
    return os.fdopen(reading, "rb", 0)


def _instructions(machine: Machine, *, network: bool) -> list[bpf.Instruction]:
    refused = bpf.ERRNO | errno.EPERM
    absent = bpf.ERRNO | errno.ENOSYS
    lines = [bpf.load(bpf.ARCH_OFFSET), *bpf.when_not_equal(machine.audit, bpf.KILL), bpf.load(bpf.NUMBER_OFFSET)]
    if machine.x32:
        lines += bpf.when_at_least(X32_BIT, bpf.KILL)
    for name, number in machine.numbers.items():
        if name not in INSPECTED:
            lines += bpf.when_equal(number, absent if name in ABSENT else refused)
    local = [bpf.load(bpf.argument_offset(0)), *bpf.when_not_equal(AF_UNIX, refused)]
    abroad = [bpf.load(bpf.argument_offset(0)), *bpf.when_none_of((AF_UNIX, AF_INET, AF_INET6), refused)]
    abroad += [bpf.load(bpf.argument_offset(2)), *bpf.when_none_of(PLAIN_PROTOCOLS, refused)]
    lines += bpf.for_number(machine.numbers["socketpair"], local)
    lines += bpf.for_number(machine.numbers["socket"], abroad if network else local)
    for name, body in _refused_by_arguments(refused).items():
        lines += bpf.for_number(machine.numbers[name], body)
    return [*lines, bpf.give(bpf.ALLOW)]


def _refused_by_arguments(refused: int) -> dict[str, list[bpf.Instruction]]:
    """Checks of the arguments of a call, by its name; each starts from nothing and falls through to what is allowed."""
    shared = [bpf.Instruction(bpf.JUMP_ANY_BIT, MAP_ANONYMOUS, 0, 2), *bpf.when_any_bit(MAP_SHARED, refused)]
    core = bpf.when_equal(RLIMIT_CORE, refused)
    # Reading a limit is allowed: then no new one is given.
    given = [half for high in (False, True) for half in _when_any(bpf.argument_offset(2, high=high), refused)]
    return {
        "clone": [bpf.load(bpf.argument_offset(0)), *bpf.when_any_bit(NEW_NAMESPACES, refused)],
        "mmap": [bpf.load(bpf.argument_offset(3)), *shared],
        "ioctl": [bpf.load(bpf.argument_offset(1)), *_when_one_of((TIOCSTI, TIOCLINUX), refused)],
        "fcntl": [bpf.load(bpf.argument_offset(1)), *_when_one_of(RECORD_LOCKS, bpf.ERRNO | errno.ENOLCK)],
        "setrlimit": [bpf.load(bpf.argument_offset(0)), *core],
        "prlimit64": [
            bpf.load(bpf.argument_offset(1)),
            bpf.Instruction(bpf.JUMP_EQUAL, RLIMIT_CORE, 0, len(given)),
            *given,
        ],
    }


def _when_one_of(values: tuple[int, ...], action: int) -> list[bpf.Instruction]:
    return [line for value in values for line in bpf.when_equal(value, action)]


def _when_any(offset: int, action: int) -> list[bpf.Instruction]:
    return [bpf.load(offset), *bpf.when_any_bit(0xFFFFFFFF, action)]
