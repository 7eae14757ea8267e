"""What a hostile filter is: a few lines of `score`, how it may end, and the layers that it is the proof of."""

import textwrap
from dataclasses import dataclass

from datacomp_worker.sandbox.layers import Layer

SCORES = ("scores",)
"""It ran to its end and gave scores: harmless, as what it tried did not work."""
TIMEOUT = ("filter-timeout",)
RAISED = ("filter-raised",)
MALFORMED = ("filter-result-malformed",)


@dataclass(frozen=True)
class Case:
    """One hostile filter."""

    name: str
    body: str
    """Lines that the first call of `score` runs; where it is to end with scores they must call `tries`."""
    ends: tuple[str, ...] = SCORES
    """Codes of the problems it may end with, or "scores"."""
    proves: tuple[frozenset[Layer], ...] = ()
    """Without these layers (each set by itself) it breaks out."""
    seconds: float = 20
    harmless: bool = False
    """It tries nothing that could work: only what it leaves behind, and how it ends, is looked at."""
    head: bool = False
    """The lines stand at the head of the file instead."""
    quick: bool = False
    """Also part of the default suite."""


def off(*layers: Layer) -> frozenset[Layer]:
    """A set of layers to be taken away together."""
    return frozenset(layers)


PRELUDE = '''
from datacomp.filtering import Filter
import ctypes, errno, fcntl, json, mmap, os, resource, signal, socket, struct, subprocess, sys, threading, time

RESULT = int(sys.orig_argv[-1])
FACTS = json.loads({facts!r})
MARK, N = FACTS["mark"], FACTS["numbers"]
libc = ctypes.CDLL(None, use_errno=True)


def tries(attempt, *arguments):
    """An attempt that must not work: it must raise, or find nothing."""
    try:
        got = attempt(*arguments)
    except (OSError, MemoryError, ValueError, RuntimeError, subprocess.SubprocessError) as error:
        print("HELD", type(error).__name__, errno.errorcode.get(getattr(error, "errno", None), ""))
        return
    print("ESCAPED", repr(got)[:200]) if got is None or got else print("HELD", repr(got))


def call(name, *arguments):
    """A system call by its name; OSError when it fails."""
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(N.get(name, name)), *(ctypes.c_long(a) for a in arguments))
    if done < 0:
        raise OSError(ctypes.get_errno(), name)
    return True


def address(value):
    """The address of some bytes, kept for ever."""
    KEPT.append(ctypes.create_string_buffer(value))
    return ctypes.addressof(KEPT[-1])


KEPT = []


def many(make):
    """Make 400 descriptors."""
    made = []
    try:
        while len(made) < 400:
            made.append(make())
            if made[-1] < 0: raise OSError(ctypes.get_errno(), "no more")
    finally:
        for fd in made:
            if fd >= 0: os.close(fd)


def in_child(function, *arguments):
    """0 when a child can call a function, else 1, or minus the signal that ended it."""
    child = os.fork()
    if child == 0:
        try:
            function(*arguments)
        except OSError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def frame(kind, data=b"", length=None):
    """Write a frame of the result's format, or what looks like one."""
    os.write(RESULT, kind + struct.pack("<I", len(data) if length is None else length) + data)


def header(dtype="bool", rule="score", **more):
    frame(b"H", json.dumps(dict(dtype=dtype, rule=rule, **more)).encode())


def write(path, data="x"):
    with open(path, "w") as file:
        file.write(data)


{head}


def hostile():
{body}


class Mine(Filter):
    columns = ("words",)
    rule = "score > 3"

    def score(self, batch):
        if not KEPT:
            KEPT.append(None)
            hostile()
        return batch["words"]
'''


def source(case: Case, facts: str) -> str:
    """The filter's file."""
    head, body = (case.body, "pass") if case.head else ("", case.body)
    parts = {"{facts!r}": repr(facts), "{head}": head, "{body}": textwrap.indent(body, "    ")}
    text = PRELUDE
    for name, part in parts.items():
        text = text.replace(name, part)
    return text
