"""Runs a hostile filter by the stage that runs filters, and looks at everything outside for what it did."""

import ctypes
import json
import os
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from unittest import mock

from boxed import left_behind
from corpus.case import Case, source
from stage_job import Notes, stage_context

from datacomp.filtering import select
from datacomp.messages import Stage, SubmissionKind
from datacomp.pool import Pool
from datacomp.problems import DatacompError
from datacomp_worker.sandbox import Layer, SandboxSettings, score_in_sandbox, tree
from datacomp_worker.sandbox.layers import ALL, Layers
from datacomp_worker.sandbox.limits import MIB
from datacomp_worker.sandbox.seccomp import MACHINES
from datacomp_worker.stages.filter import run as filter_stage

MEMORY, PROCESSES = 768 * MIB, 24
TEARDOWN = 5.0
GROWTH = 96 * MIB
"""How much a worker may grow while a filter runs."""
SECRET = "a-secret-of-the-worker"
PLACES = ("/", "/tmp", "/dev", "/dev/shm", "/var/tmp", "/run", "/usr/bin", "/etc")


@dataclass
class Verdict:
    """How a case went."""

    end: str
    """"scores", or the code of the problem it ended with."""
    log: str
    seconds: float
    teardown: float
    """From the decision that it is over until nothing of it was left."""
    left: list[str] = field(default_factory=list)
    """What it left behind, or changed outside."""

    def broke_out(self, case: Case) -> list[str]:
        """Why it was not contained; empty when it was."""
        why = list(self.left)
        why += [line for line in self.log.splitlines() if line.startswith("ESCAPED")]
        if self.end not in case.ends:
            why.append(f"ended with {self.end}, not {' or '.join(case.ends)}")
        if self.end == "scores" and not case.harmless and "HELD" not in self.log:
            why.append("does not say what it tried")
        if self.teardown > TEARDOWN:
            why.append(f"torn down in {self.teardown:.1f} s")
        if any(not c.isprintable() and c not in "\n\t" for c in self.log):
            why.append("control characters in the log")
        return why


class Outside:
    """The worker's machine, with things on it that no filter may reach. `case` runs filters."""

    def __init__(self, directory: Path, pool: Pool) -> None:
        self.directory, self.pool = directory, pool
        self.mark = f"hostile-{os.getpid()}-{time.time_ns():x}"
        self.connections = 0
        self._count = 0
        self._stack = ExitStack()

    def __enter__(self) -> "Outside":
        """Set everything up."""
        enter = self._stack.enter_context
        self.canary = self._file("canary", "kept from all", 0o644)
        self.open = self._file("open", "may be written by all", 0o666)
        self.tcp = enter(socket.create_server(("127.0.0.1", 0)))
        self.abstract, self.named = (enter(socket.socket(socket.AF_UNIX)) for _ in range(2))
        self.socket_file = self.directory / "s"
        self.abstract.bind("\0" + self.mark)
        self.named.bind(str(self.socket_file))
        self.socket_file.chmod(0o777)
        for listener in (self.abstract, self.named):
            listener.listen()
        for listener in (self.tcp, self.abstract, self.named):
            threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        self.decoy_word = f"{7000 + os.getpid() / 1e7:.7f}"
        self.decoy = subprocess.Popen(["sleep", self.decoy_word])
        self._stack.callback(self._end_decoy)
        self.shm_key = 0x0DC00000 + os.getpid() * 8 % 0xFFFFF
        self._segment = _shmget(self.shm_key)
        self._stack.callback(_remove_segment, self._segment)
        enter(mock.patch.dict(os.environ, {"DATACOMP_WORKER_TOKEN": SECRET}))
        return self

    def __exit__(self, *error: object) -> None:
        """Take it down."""
        self._stack.close()

    def run(self, case: Case, layers: Layers = ALL) -> Verdict:
        """Run a case: through the stage, or without some layers."""
        self._count += 1
        place = self.directory / f"case-{self._count}"
        place.mkdir()
        code = place / "mine.py"
        code.write_text(source(case, json.dumps(self._facts(place))))
        code.chmod(0o644)
        settings = {"SECONDS": str(case.seconds), "MEMORY": str(MEMORY), "PROCESSES": str(PROCESSES)}
        environment = {f"DATACOMP_SANDBOX_{name}": value for name, value in settings.items()}
        with mock.patch.dict(os.environ, environment), self._watched() as (left, teardown):
            started = time.monotonic()
            notes = Notes()
            try:
                end = self._through_stage(place, code, notes) if layers == ALL else self._bare(code, notes, layers)
            except DatacompError as error:
                end = error.problems[0].code
                notes.text = notes.text or error.log_tail
            seconds = time.monotonic() - started
        return Verdict(end, notes.text, seconds, max(teardown, default=0.0), left)

    def _through_stage(self, place: Path, code: Path, notes: Notes) -> str:
        context = stage_context(Stage.FILTER, place, {"upload": code}, pool_dir=self.pool.directory, notes=notes)
        upload = context.job.upload.model_copy(update={"name": "mine.py"})
        job = context.job.model_copy(update={"kind": SubmissionKind.CODE, "upload": upload})
        filter_stage(replace(context, job=job))
        return "scores"

    def _bare(self, code: Path, notes: Notes, layers: Layers) -> str:
        limits = SandboxSettings().limits(self.pool.rows)
        deadline = time.monotonic() + limits.seconds + 5

        def check() -> None:
            if time.monotonic() > deadline:
                raise Endless.of("endless", "it went on")

        scored = score_in_sandbox(code, self.pool, limits, layers=layers, check=check)
        notes.log(scored.outcome.log)
        select(self.pool, scored.scores, scored.rule)
        return "scores"

    def _facts(self, place: Path) -> dict[str, object]:
        return {
            "mark": self.mark,
            "numbers": MACHINES[os.uname().machine].numbers,
            "port": self.tcp.getsockname()[1],
            "abstract": self.mark,
            "socket": str(self.socket_file),
            "canary": str(self.canary),
            "open": str(self.open),
            "pool": str(self.pool.directory),
            "workspace": str(place),
            "rows": self.pool.rows,
            "processes": PROCESSES,
            "decoy": self.decoy.pid,
            "decoy_word": self.decoy_word,
            "daemon": f"{float(self.decoy_word) + 1000:.7f}",
            "worker": os.getpid(),
            "secret": SECRET,
            "host": os.uname().nodename,
            "user_ns": os.readlink("/proc/self/ns/user"),
            "cgroup_ns": os.readlink("/proc/self/ns/cgroup"),
            "shm_key": self.shm_key,
        }

    @contextmanager
    def _watched(self) -> Iterator[tuple[list[str], list[float]]]:
        """Gives lists that are filled at the end: what was left behind or changed, and how long teardowns took."""
        left: list[str] = []
        teardown: list[float] = []
        before, peak = self._state(), _peak()
        with left_behind() as processes, mock.patch.object(tree, "end", _timed(tree.end, teardown)):
            yield left, teardown
        left += [f"process {pid} is left" for pid in processes]
        for pid in processes:
            with suppress(OSError):
                os.kill(pid, 9)
                os.waitpid(pid, 0)
        after = self._state()
        left += [f"{name}: {before[name]} became {after[name]}" for name in before if before[name] != after[name]]
        left += self._remove_marked()
        if (grown := _peak() - peak) > GROWTH:
            left.append(f"the worker grew by {grown // MIB} MiB")

    def _state(self) -> dict[str, object]:
        names = [name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")]
        pool = sorted(path for path in self.pool.directory.rglob("*"))
        return {
            "descriptors": {name: os.readlink(f"/proc/self/fd/{name}") for name in sorted(names)},
            "pool": [(str(p), s.st_mode, s.st_size, s.st_mtime_ns) for p in pool for s in (p.lstat(),)],
            "canaries": [self.canary.read_text(), self.open.read_text()],
            "mounts": [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if "newroot" in line],
            "shared memory": sorted(
                line.split()[0]
                for line in Path("/proc/sysvipc/shm").read_text().splitlines()[1:]
                if abs(int(line.split()[0]) - self.shm_key) < 8
            ),
            "sockets": [
                line.split()[-1] for line in Path("/proc/net/unix").read_text().splitlines() if self.mark in line
            ],
            "decoy": self.decoy.poll(),
            "connections": self.connections,
            "limits": resource.getrlimit(resource.RLIMIT_NPROC),
            "folder": os.getcwd(),
        }

    def _remove_marked(self) -> list[str]:
        import datacomp

        here = [*PLACES, str(Path(datacomp.__file__).parent), str(Path(json.__file__).parents[1]), os.getcwd()]
        found = [path for place in here for path in Path(place).glob(f"{self.mark}*")]
        found += self.pool.directory.rglob(f"{self.mark}*")
        for path in found:
            path.rmdir() if path.is_dir() else path.unlink()
        return [f"{path} is left" for path in found]

    def _file(self, name: str, text: str, mode: int) -> Path:
        path = self.directory / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                listener.accept()[0].close()
                self.connections += 1

    def _end_decoy(self) -> None:
        self.decoy.kill()
        self.decoy.wait()


class Endless(DatacompError):
    """Without its wall clock a filter went on past its time."""


def _timed(function, durations: list[float]):
    def timed(root: int) -> bool:
        started = time.monotonic()
        try:
            return function(root)
        finally:
            durations.append(time.monotonic() - started)

    return timed


def _peak() -> int:
    """Peak resident memory of this process since the last call, in bytes."""
    status = Path("/proc/self/status").read_text()
    Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


def _shmget(key: int) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(key, 4096, 0o1600)
    assert segment >= 0, os.strerror(ctypes.get_errno())
    return segment


def _remove_segment(segment: int) -> None:
    ctypes.CDLL(None).shmctl(segment, 0, None)


GENEROUS = {Layer.CORE: (resource.RLIMIT_CORE, -1), Layer.RTPRIO: (14, 50), Layer.NICE: (13, 40)}
"""Limits that hosts set as tightly as we do; a generous host would not."""


def raise_own_limits() -> set[Layer]:
    """Be a generous host's worker, so that a limit's absence shows. Returns the limits that nobody here may raise:
    this host already has them as tight, and taking the layer away changes nothing."""
    tight = set()
    for layer, (name, value) in GENEROUS.items():
        most = resource.getrlimit(name)[1]
        try:
            resource.setrlimit(name, (value, value))
        except ValueError:
            resource.setrlimit(name, (most, most))
            tight |= {layer} if most == 0 else set()
    return tight


__all__ = ["Layer", "Outside", "Verdict", "raise_own_limits"]
