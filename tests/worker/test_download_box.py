"""The process that downloads is shut in: what runs in its place sees, holds and leaves nothing."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from boxed import require_bubblewrap
from gallery import gallery, picture

from datacomp.problems import PlatformFault
from datacomp_worker.download import Limits, Options, Space, box, outcomes, run_download
from datacomp_worker.download.driver import _environment, rows_done
from datacomp_worker.sandbox.seccomp import MACHINES

LOOPBACK = Limits(seconds=5.0, retries=0, allowed=("127.0.0.1/32",))
SMALL = Options(image_size=64, processes=1, threads=2, rows_per_shard=3)
ROWS = 9
LOOK = """
import ctypes, json, os, resource, socket, sys
from pathlib import Path
def may(where):
    try:
        Path(where, "made").write_text("x")
        return True
    except OSError:
        return False
given, folder, port = sys.argv[1:]
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
print(json.dumps({
    "variables": sorted(os.environ), "processes": sum(name.isdigit() for name in os.listdir("/proc")),
    "seen": [path for path in ("/etc/passwd", "/home", "/var", "/run", "/sys") if os.path.exists(path)],
    "given": Path(given, "urls.txt").read_text(), "beside": os.path.exists(Path(given).parent / "secret"),
    "writes": [where for where in ("/", "/usr", "/etc", given, sys.prefix, folder, "/tmp") if may(where)],
    "capabilities": int(status["CapEff"], 16), "gains": status["NoNewPrivs"].strip(), "user": os.getuid(),
    "core": resource.getrlimit(resource.RLIMIT_CORE)[1] <= 1, "data": resource.getrlimit(resource.RLIMIT_DATA)[1],
    "network": socket.create_connection(("127.0.0.1", int(port)), 5) is not None,
}))
"""


def test_the_box_holds_nothing_but_the_download(tmp_path, monkeypatch):
    require_bubblewrap()
    assert not box.why_no_box()
    monkeypatch.setenv("DATACOMP_WORKER_TOKEN", "secret")
    given, folder = tmp_path / "given", tmp_path / "folder"
    for path in (given, folder):
        path.mkdir()
    (given / "urls.txt").write_text("read")
    (tmp_path / "secret").write_text("s")
    with gallery() as made:
        look = [sys.executable, "-c", LOOK, str(given), str(folder), made.url.rpartition(":")[2]]
        found = ran(look, {"LANG": "C.UTF-8"}, read=[given], write=[folder], memory=2 << 30)
    assert set(found.pop("variables")) <= {"HOME", "LANG", "LC_CTYPE", "PWD", "TMPDIR"}
    assert found.pop("processes") <= 3
    assert found == {
        "seen": [], "given": "read", "beside": False, "writes": [str(folder), "/tmp"], "capabilities": 0, "gains": "1",
        "user": 65534, "core": True, "data": 2 << 30, "network": True,
    }  # fmt: skip
    assert not (given / "made").exists()


CALLS = """
import ctypes, errno, json, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(4, 1)
n = json.loads(sys.argv[1])
def call(name, *arguments):
    ctypes.set_errno(0)
    done = libc.syscall(ctypes.c_long(n[name]), *(ctypes.c_long(a) for a in arguments))
    return "worked" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def opened(*what):
    try:
        socket.socket(*what).close()
        return "worked"
    except OSError as error:
        return errno.errorcode[error.errno]
name = ctypes.create_string_buffer(b"x")
print(json.dumps({
    "odd": {"netlink": opened(16, 3), "packet": opened(17, 3), "vsock": opened(40, 1), "mptcp": opened(2, 1, 262),
            "unshare": call("unshare", 0x10000000), "memfd": call("memfd_create", ctypes.addressof(name), 0),
            "messages": call("msgget", 0, 0o1600), "ptrace": call("ptrace", 0, 0, 0, 0)},
    "plain": [opened(2, 1), opened(2, 2), opened(10, 1, 6), opened(1, 1)],
    "guarded": [open(f"/proc/{pid}/status").read().split("Seccomp:")[1].split()[0]
                for pid in os.listdir("/proc") if pid.isdigit()],
}))
"""
"""What the seccomp program leaves and takes."""


def test_of_system_calls_the_box_leaves_what_a_download_needs():
    """And without the program odd ones work: it is what takes them away."""
    require_bubblewrap()
    calls = [sys.executable, "-c", CALLS, json.dumps(MACHINES[os.uname().machine].numbers)]
    found = ran(calls)
    assert set(found["odd"].values()) <= {"EPERM", "ENOSYS"}
    assert set(found["plain"]) == {"worked"}
    assert set(found["guarded"]) == {"2"}
    bare = {name for name, word in ran(calls, guarded=False)["odd"].items() if word == "worked"}
    assert {"netlink", "memfd", "messages", "ptrace"} <= bare


def ran(program, environment=None, *, guarded=True, **given):
    """What a program in the box prints."""
    with box.guarding() as guard:
        command = box.boxed(program, environment or {}, guard.fileno(), **given)
        if not guarded:
            at = command.index("--seccomp")
            del command[at : at + 2]
        keep = {"capture_output": True, "text": True, "pass_fds": (guard.fileno(),)}
        done = subprocess.run(command, check=False, timeout=60, **keep)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_spark_starts_the_interpreter_that_has_the_package(monkeypatch):
    monkeypatch.delenv("PYSPARK_PYTHON", raising=False)
    assert _environment(LOOPBACK)["PYSPARK_PYTHON"] == sys.executable
    monkeypatch.setenv("PYSPARK_PYTHON", "/opt/python")
    assert _environment(LOOPBACK)["PYSPARK_PYTHON"] == "/opt/python"


def test_a_host_that_cannot_is_refused_or_named(monkeypatch, caplog):
    monkeypatch.setattr(box, "why_no_box", lambda: "bwrap is not installed")
    with pytest.raises(PlatformFault, match="fetch-box"):
        box.use_box("require")
    assert not box.use_box("auto")
    assert "not shut in" in caplog.text
    assert not box.use_box("off")


def test_a_download_that_is_killed_goes_on_where_it_stopped(tmp_path):
    """Killed in the middle: complete shards stay, their images are not asked for again, nothing lives on."""
    require_bubblewrap()
    with gallery() as made:
        made.bodies |= {f"{i}.jpg": picture(i) for i in range(ROWS)}
        made.slow |= {f"{i}.jpg" for i in range(3, ROWS)}
        columns = {"uid": [str(i) for i in range(ROWS)], "url": [made.at(f"{i}.jpg") for i in range(ROWS)]}
        (tmp_path / "urls").mkdir()
        pq.write_table(pa.table({**columns, "text": ["caption"] * ROWS}), tmp_path / "urls" / "0.parquet")
        before = {child.pid for child in psutil.Process().children(recursive=True)}
        killed: list[int] = []

        def kill(done: int) -> None:
            if done and not killed:
                for child in psutil.Process().children(recursive=False):
                    if child.pid not in before:
                        killed.append(child.pid)
                        os.kill(child.pid, signal.SIGKILL)

        with pytest.raises(PlatformFault, match="download-failed"):
            download(tmp_path, kill)
        assert killed
        wait_for(lambda: {c.pid for c in psutil.Process().children(recursive=True)} <= before)
        wait_for(lambda: not made.busy)
        first = rows_done(tmp_path / "shards")
        assert 3 <= first < ROWS
        made.slow.clear()
        asked = len(made.asked)
        download(tmp_path, lambda done: None)
        again = [path for _, path in made.asked[asked:]]
    assert outcomes(tmp_path / "shards").successes == ROWS
    assert len(again) == ROWS - first
    assert not {"0.jpg", "1.jpg", "2.jpg"} & set(again)


def wait_for(true, seconds: float = 10.0) -> None:
    pause, deadline = threading.Event(), time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.05)


def download(folder, report):
    how = {"space": Space(spare=0), "workdir": folder / "work", "report": report, "boxing": "require"}
    run_download(folder / "urls", folder / "shards", SMALL, LOOPBACK, **how)
