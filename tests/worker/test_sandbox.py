"""Every layer of the sandbox holds, and without it the very same attempt succeeds."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from boxed import SMALL, boxed, require_bubblewrap

from datacomp.problems import BadInput, PlatformFault
from datacomp_worker.sandbox import Layers, Limits, require_sandbox, self_test
from datacomp_worker.sandbox import command as command_module
from datacomp_worker.sandbox.bpf import assemble, give
from datacomp_worker.sandbox.command import Entry, entry
from datacomp_worker.sandbox.limits import MIB
from datacomp_worker.sandbox.log import BoundedLog
from datacomp_worker.sandbox.mounts import Mount, require_readable
from datacomp_worker.sandbox.process import End
from datacomp_worker.sandbox.seccomp import AARCH64, MACHINES, X86_64, program

ALL = Layers()


@pytest.fixture(autouse=True)
def _bubblewrap() -> None:
    require_bubblewrap()


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    yield
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not left, "processes outlived the test"


# --- network

CONNECT = """
def tcp():
    socket.create_connection(("127.0.0.1", int(sys.argv[2])), 2).close()
def unix():
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(chr(0) + sys.argv[3])
answer([attempt(tcp), attempt(unix)])
"""


@pytest.fixture
def listening(tmp_path: Path):
    """A TCP port and an abstract Unix address of this host."""
    name = f"datacomp-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind("\0" + name)
        unix.listen()
        yield str(tcp.getsockname()[1]), name


@pytest.mark.parametrize(
    ("layers", "tcp", "unix"),
    [
        (ALL, "EPERM", "ECONNREFUSED"),
        (Layers(network=False), "EPERM", "worked"),
        (Layers(seccomp=False), "ECONNREFUSED", "ECONNREFUSED"),
        (Layers(network=False, seccomp=False), "worked", "worked"),
    ],
)
def test_no_network(listening, layers: Layers, tcp: str, unix: str) -> None:
    assert boxed(CONNECT, *listening, layers=layers).answer == [tcp, unix]


# --- files

LOOK = """
answer([path for path in sys.argv[2:] if os.path.exists(path)])
"""


def test_the_hosts_files_are_not_there(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("x")
    hidden = [
        "/etc/passwd",
        "/etc/shadow",
        "/home",
        "/var",
        "/run",
        "/sys",
        "/boot",
        "/mnt",
        str(secret),
        str(tmp_path),
    ]
    hidden += [
        str(Path(__file__).parents[2] / name) for name in ("pyproject.toml", "server", "worker", "tests", ".git")
    ]
    hidden += [str(Path.home() / name) for name in (".ssh", ".netrc", ".config", ".bash_history")]
    assert boxed(LOOK, *hidden).answer == []
    assert boxed(LOOK, str(secret), mounts=[Mount(secret, secret)]).answer == [str(secret)], "the look is a real one"


WRITE = """
def write(path):
    with open(path, "w") as file:
        file.write("x")
answer({path: attempt(write, path + "/made") for path in sys.argv[2:]})
"""


def test_only_tmp_and_shm_can_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    mounts = [Mount(tmp_path, Path("/given"))]
    prefix = str(Path(sys.prefix))
    closed = ["/", "/usr", "/etc", "/dev", "/proc", "/given", prefix]
    done = boxed(WRITE, *closed, "/tmp", "/dev/shm", mounts=mounts).answer
    assert {path: done[path] for path in ("/tmp", "/dev/shm")} == {"/tmp": "worked", "/dev/shm": "worked"}
    assert not [path for path in closed if done[path] == "worked"]
    assert not (tmp_path / "made").exists()
    assert not Path("/tmp/made").exists(), "the sandbox's /tmp is its own"
    open_ = boxed(WRITE, "/", "/dev", "/given", mounts=mounts, layers=Layers(read_only=False)).answer
    assert set(open_.values()) == {"worked"}
    assert (tmp_path / "made").exists()


def test_links_and_pipes_that_are_left_lead_nowhere(tmp_path: Path) -> None:
    target = tmp_path / "target"
    source = f"""
os.symlink({str(target)!r}, "/tmp/link")
os.mkfifo("/tmp/fifo")
answer(attempt(open, "/tmp/link", "w"))
"""
    assert boxed(source).answer == "ENOENT"
    assert not target.exists()
    assert not Path("/tmp/link").exists()


FILL = """
def fill(path, size):
    with open(path, "wb") as file:
        for _ in range(size >> 20):
            file.write(bytes(1 << 20))
answer([attempt(fill, "/tmp/big", 12 << 20)] + [attempt(fill, f"/tmp/{n}", 4 << 20) for n in range(6)])
"""


def test_disk_is_bounded_by_file_and_in_all() -> None:
    big, *small = boxed(FILL).answer
    assert big == "EFBIG"
    assert "ENOSPC" in small
    assert boxed(FILL, layers=Layers(small_tmp=False)).answer == ["EFBIG", *["worked"] * 6]
    big, *small = boxed(FILL, layers=Layers(rlimits=False)).answer
    assert (big, "ENOSPC" in small) == ("worked", True)


MANY_FILES = """
for n in range(1500):
    os.close(os.open(f"/tmp/{n}", os.O_CREAT))
time.sleep(1.5)
answer("worked")
"""


def test_the_number_of_files_is_bounded() -> None:
    assert boxed(MANY_FILES).outcome.end is End.FILES
    assert boxed(MANY_FILES, layers=Layers(watchdog=False)).answer == "worked"


# --- processes

SEE = """
answer([open(f"/proc/{name}/cmdline").read().split(chr(0))[-2:-1] for name in os.listdir("/proc") if name.isdigit()])
"""


def test_the_hosts_processes_are_not_seen() -> None:
    with subprocess.Popen(["sleep", "47.11"]) as other:
        try:
            assert boxed(SEE, "mine").answer == [["mine"]]
            assert ["47.11"] in boxed(SEE, "mine", layers=Layers(processes=False)).answer
        finally:
            other.kill()


DAEMON = """
for _ in range(4):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for fd in range(3):
                os.close(fd)
            os.execv("/usr/bin/sleep", ["sleep", sys.argv[2]])
        os._exit(0)
time.sleep(0.3)
answer("started")
"""


def sleeping(seconds: str) -> list[int]:
    found = []
    for place in Path("/proc").iterdir():
        with suppress(OSError):
            if place.name.isdigit() and (place / "cmdline").read_bytes() == f"sleep\0{seconds}\0".encode():
                found.append(int(place.name))
    return found


def test_daemons_are_gone_afterwards() -> None:
    name = f"{60 + os.getpid() / 1e7:.7f}"
    assert boxed(DAEMON, name).answer == "started"
    assert not sleeping(name)
    other = f"{61 + os.getpid() / 1e7:.7f}"
    try:
        boxed(DAEMON, other, layers=Layers(processes=False))
        assert sleeping(other), "without a process namespace they would have stayed"
    finally:
        for pid in sleeping(other):
            os.kill(pid, signal.SIGKILL)


FORKS = """
def start():
    if os.fork() == 0:
        time.sleep(10)
        os._exit(0)
said = [attempt(start) for _ in range(24)]
answer([said.count("worked"), said[-1]])
os.kill(-1, signal.SIGKILL)
"""


def test_the_number_of_processes_is_bounded_even_when_started_by_root() -> None:
    started, last = boxed(FORKS).answer
    assert started < SMALL.processes
    assert last == "EAGAIN"
    assert boxed(FORKS, layers=Layers(rlimits=False)).answer == [24, "worked"]
    if entry() is not Entry.USER:
        assert boxed(FORKS, layers=Layers(real_uid=False)).answer == [24, "worked"]


def test_threads_count_as_processes() -> None:
    source = """
import threading
held = threading.Event()
def start():
    threading.Thread(target=held.wait, daemon=True).start()
def tries():
    for n in range(40):
        try: start()
        except RuntimeError: return n
    return 40
answer(tries())
os._exit(0)
"""
    assert boxed(source).answer < SMALL.processes


def test_a_fork_bomb_is_ended_in_time() -> None:
    bomb = "while True:\n    try: os.fork()\n    except OSError: pass\n"
    started = time.monotonic()
    assert boxed(bomb, limits=replace(SMALL, seconds=1)).outcome.end is End.TIMEOUT
    assert time.monotonic() - started < 6


def test_killing_everything_in_reach_harms_nobody_outside() -> None:
    source = """
for target in (1, os.getppid(), int(sys.argv[2]), -1):
    attempt(os.kill, target, signal.SIGKILL)
answer("alive")
"""
    ran = boxed(source, str(os.getpid()))
    assert ran.outcome.end is End.EXITED
    assert (ran.answer, ran.outcome.code) in {("alive", 0), (None, 137)}


# --- memory

SPREAD = """
children = []
for _ in range(6):
    if (child := os.fork()) == 0:
        memory = bytearray(64 << 20)
        memory[::4096] = b"x" * len(memory[::4096])
        time.sleep(1.5)
        os._exit(0)
    children.append(child)
answer([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children])
"""
TAKE = """
answer([attempt(bytearray, 300 << 20), attempt(mmap.mmap, -1, 600 << 20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS),
        attempt(mmap.mmap, -1, 1 << 20, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)])
"""


def test_memory_is_bounded_by_process_and_in_all() -> None:
    assert boxed(TAKE).answer == ["MemoryError", "ENOMEM", "EPERM"]
    assert boxed(TAKE, layers=Layers(rlimits=False, watchdog=False)).answer == ["worked", "worked", "EPERM"]
    assert boxed(TAKE, layers=Layers(seccomp=False)).answer == ["MemoryError", "ENOMEM", "worked"]
    together = boxed(SPREAD)
    assert together.outcome.end is End.MEMORY
    assert together.outcome.peak_memory > SMALL.memory
    assert boxed(SPREAD, layers=Layers(watchdog=False)).answer == [0] * 6


def test_shared_memory_that_nobody_counts_cannot_be_had() -> None:
    source = """
def zero():
    with open("/dev/zero", "r+b") as file:
        mmap.mmap(file.fileno(), 1 << 20)
answer([attempt(zero), attempt(lambda: os.memfd_create("x")), call(int(sys.argv[2]), 0, 1 << 20, 0o1600)])
"""
    number = MACHINES[os.uname().machine].numbers["shmget"]
    said = boxed(source, str(number)).answer
    assert said[0] != "worked"
    assert said[1:] == ["ENOSYS", "EPERM"]
    assert boxed(source, str(number), layers=Layers(seccomp=False)).answer[1:] == ["worked", "worked"]


# --- time, log, descriptors, environment


@pytest.mark.parametrize(
    "source",
    [
        "while True: pass",
        "time.sleep(60)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))\nwhile True: time.sleep(1)",
        "os.close(RESULT); os.close(1); os.close(2); time.sleep(60)",
        "subprocess.Popen(['/usr/bin/sleep', '60']).wait()",
    ],
    ids=["spins", "sleeps", "blocks signals", "closes its pipes", "waits for a child"],
)
def test_time_is_bounded(source: str) -> None:
    started = time.monotonic()
    ran = boxed(source, limits=replace(SMALL, seconds=0.6))
    assert ran.outcome.end is End.TIMEOUT
    assert 0.5 < time.monotonic() - started < 5


def test_a_check_that_raises_ends_it() -> None:
    class Stop(Exception):
        pass

    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Stop

    started = time.monotonic()
    with pytest.raises(Stop):
        boxed("time.sleep(60)", check=check)
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("stream", [1, 2])
def test_a_flood_of_output_is_cut_and_ended(stream: int) -> None:
    limits = replace(SMALL, log_bytes=2 * MIB, log_kept=4096)
    ran = boxed(f"while True: os.write({stream}, b'spam ' * 9999)", limits=limits)
    assert ran.outcome.end is End.LOG_FLOOD
    assert len(ran.outcome.log) < 5000
    assert "bytes left out" in ran.outcome.log


def test_control_characters_do_not_reach_terminals() -> None:
    log = boxed("print('a\\x1b[2Jb\\x07\\u202ec\\ttab')").outcome.log
    assert log.startswith("a\ufffd[2Jb\ufffd\ufffdc\ttab")


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 100_000])
def test_the_log_keeps_both_ends(size: int) -> None:
    log = BoundedLog(8)
    for start in range(0, size, 3):
        log.add(bytes(97 + (start + i) % 26 for i in range(min(3, size - start))))
    whole = "".join(chr(97 + i % 26) for i in range(size))
    text = log.text()
    if size <= 8:
        assert text == whole
    else:
        assert text == f"{whole[:4]}\n[... {size - 8:,} bytes left out ...]\n{whole[-4:]}"


def test_descriptors_are_the_known_ones_and_bounded(tmp_path: Path) -> None:
    secret = (tmp_path / "secret").open("w+")
    os.set_inheritable(secret.fileno(), True)
    source = """
listed = [int(n) for n in os.listdir("/proc/self/fd")]
there = sorted(n for n in listed if n not in (0, 1, 2, RESULT) and os.path.exists(f"/proc/self/fd/{n}"))
count = 0
def more():
    global count
    while count < 400:
        os.dup(0)
        count += 1
answer([there, attempt(more)])
"""
    with secret:
        assert boxed(source).answer == [[], "EMFILE"]
        assert boxed(source, layers=Layers(rlimits=False)).answer == [[], "worked"]


def test_the_workers_environment_stays_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATACOMP_WORKER_TOKEN", "a secret of the worker")
    source = """
seen = json.dumps(dict(os.environ))
for pid in os.listdir("/proc"):
    try: seen += open(f"/proc/{pid}/environ", errors="replace").read()
    except OSError: pass
answer(["a secret" in seen, "PATH" in seen])
"""
    assert boxed(source).answer == [False, True]


# --- the kernel

CALLS = """
numbers = json.loads(sys.argv[2])
answer({name: call(number, -1, -1, -1, -1, -1, -1) for name, number in numbers.items()})
"""


def test_every_listed_call_is_refused() -> None:
    machine = MACHINES[os.uname().machine]
    inspected = {"ioctl", "socket", "socketpair", "clone", "mmap"}
    numbers = json.dumps({name: number for name, number in machine.numbers.items() if name not in inspected})
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
    without = boxed(ESCAPES, numbers, layers=Layers(seccomp=False)).answer
    worked = [name for name, word in without.items() if word == "worked"]
    assert {"personality", "memfd_create", "msgget", "semget", "ptrace"} <= set(worked), without


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


# --- the self-test, and the ways in


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (Layers(network=False), "net namespace"),
        (Layers(processes=False), "pid namespace"),
        (Layers(rlimits=False), "can take more memory"),
        (Layers(seccomp=False), "no seccomp program"),
        (Layers(small_tmp=False), "larger than its limit"),
        (Layers(read_only=False), "can write to"),
        (Layers(real_uid=False), "processes: can start"),
    ],
)
def test_the_self_test_notices_a_missing_layer(layers: Layers, words: str) -> None:
    if not layers.real_uid and entry() is Entry.USER:
        pytest.skip("only where the worker is root")
    assert words in "; ".join(self_test(layers=layers))


def test_the_self_test_passes_once_and_fails_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert self_test() == []
    require_sandbox.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(command_module, "program", lambda name: "/bin/false")
        with pytest.raises(PlatformFault, match="sandbox-missing") as fault:
            require_sandbox()
        assert "bubblewrap" in (fault.value.problems[0].hint or "")
    with monkeypatch.context() as patch:
        patch.setattr(command_module.shutil, "which", lambda *a, **k: None)
        with pytest.raises(PlatformFault, match="is not installed") as fault:
            require_sandbox()
        assert "install" in (fault.value.problems[0].hint or "")
    require_sandbox()
    started = time.monotonic()
    require_sandbox()
    assert time.monotonic() - started < 0.01


AS_USER = ("setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--inh-caps", "-all", "--")
AS_CONTAINER_ROOT = ("setpriv", "--bounding-set", "-sys_admin", "--")
OTHER_WAY = """
import json, sys
sys.path += json.loads(sys.argv[1])
from datacomp_worker.sandbox import self_test
from datacomp_worker.sandbox.command import entry
print(entry(), self_test())
"""


@pytest.mark.parametrize(("way", "drop"), [(Entry.USER, AS_USER), (Entry.CONTAINER_ROOT, AS_CONTAINER_ROOT)])
def test_the_other_ways_in_contain_too(way: Entry, drop: tuple[str, ...]) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become others: the other tests went in as this user")
    # An interpreter that an unprivileged user can read: this one, else the system's of the same version.
    readable = [*AS_USER, "sh", "-c", 'test -x "$(readlink -f "$0")"']
    same = f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    for python in (sys.executable, "/usr/bin/python3"):
        if all(subprocess.run([*c], check=False).returncode == 0 for c in ([*readable, python], [python, "-c", same])):
            break
    else:
        pytest.skip("no interpreter of this version lies where an unprivileged user can read it")
    done = subprocess.run(
        [*drop, python, "-c", OTHER_WAY, json.dumps([path for path in sys.path if path])],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        timeout=60,
    )
    assert done.stdout == f"{way} []\n", done.stdout + done.stderr


def test_the_sandbox_dies_with_its_worker() -> None:
    name = f"{62 + os.getpid() / 1e7:.7f}"
    inside = 'os.execv("/usr/bin/sleep", ["sleep", sys.argv[2]])'
    source = f"from boxed import boxed; boxed({inside!r}, {name!r})"
    path = os.pathsep.join(path for path in sys.path if path)
    with subprocess.Popen([sys.executable, "-c", source], env={**os.environ, "PYTHONPATH": path}) as worker:
        deadline = time.monotonic() + 20
        while not sleeping(name):
            assert time.monotonic() < deadline
            assert worker.poll() is None
            time.sleep(0.05)
        worker.kill()
    deadline = time.monotonic() + 5
    while sleeping(name):
        assert time.monotonic() < deadline, "the sandbox outlived its worker"
        time.sleep(0.05)


def test_files_that_the_sandbox_could_not_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0o600)
    with pytest.raises(PlatformFault, match="pool-unreadable") as fault:
        require_readable([Mount(tmp_path / "closed", Path("/x"))])
    assert "chmod" in (fault.value.problems[0].hint or "")


def test_a_parser_that_refuses_ends_it_and_gets_the_log() -> None:
    from boxed import PRELUDE

    from datacomp_worker.sandbox.command import Box
    from datacomp_worker.sandbox.process import RESULT_FD, run

    def refuse(block: bytes) -> None:
        raise BadInput.of("filter-result-malformed", "no")

    source = "print('said before', flush=True)\ntime.sleep(0.2)\nanswer(1)\ntime.sleep(60)"
    with pytest.raises(BadInput) as error:
        run(Box([sys.executable, "-I", "-c", PRELUDE + source, RESULT_FD]), Limits(seconds=20), feed=refuse)
    assert "said before" in error.value.log_tail
