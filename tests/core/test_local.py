"""The supervisor keeps children alive and ends them whole; the platform's secrets and port."""

import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from datacomp.cli.filter import parameters_of
from datacomp.client import Login, kind_of
from datacomp.local.platform import free_port, load_secrets
from datacomp.local.supervisor import Child, Supervisor
from datacomp.problems import BadInput


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_killed_child_is_started_again_and_stop_ends_its_whole_group(tmp_path: Path) -> None:
    supervisor = Supervisor()
    child = Child("c", ("--help",), {}, tmp_path / "log")
    # The child is `sh` here: what counts is the process group, not the program.
    child.start = lambda: start_sleeping_pair(child)  # type: ignore[method-assign]
    supervisor.add(child)
    assert child.process is not None
    first = child.process.pid
    os.kill(first, 9)
    until(lambda: child.process.pid != first and child.running)
    assert child.history == [-9]
    until(lambda: psutil.Process(child.process.pid).children())
    members = [psutil.Process(child.process.pid), *psutil.Process(child.process.pid).children(recursive=True)]
    supervisor.stop()
    _, alive = psutil.wait_procs(members, timeout=5)
    assert not alive


def start_sleeping_pair(child: Child) -> None:
    child.process = subprocess.Popen(["sh", "-c", "sleep 1000 & wait"], start_new_session=True)
    child.started = time.monotonic()


def test_a_child_really_runs_the_command_line_and_its_output_is_logged(tmp_path: Path) -> None:
    child = Child("help", ("--help",), {}, tmp_path / "logs" / "help.log")
    child.start()
    assert child.process is not None
    assert child.process.wait(60) == 0
    said = child.log.read_text()
    assert "submit" in said
    assert child.tail().strip()
    assert child.tail().strip() in said


def test_a_platform_that_is_killed_takes_its_children_with_it_and_one_that_is_told_to_end_stops_them(
    tmp_path: Path,
) -> None:
    for number in (signal.SIGKILL, signal.SIGTERM):
        command = [sys.executable, "-m", "datacomp", "up", "--data-dir", str(tmp_path), "--port", "0", "--workers", "0"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as platform:
            process = psutil.Process(platform.pid)
            until(lambda process=process: len(process.children()) == 2, 60)  # server and dispatcher
            children = process.children(recursive=True)
            platform.send_signal(number)
            _, alive = psutil.wait_procs(children, timeout=20)
            assert not alive
            assert platform.wait(20) in ({-signal.SIGKILL} if number == signal.SIGKILL else {0, 130})


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    first = load_secrets(path)
    assert load_secrets(path) == first
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(set(first.values())) == 3


def test_a_port_in_use_gives_another() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert free_port("127.0.0.1", port) not in {0, port}


def test_options_of_filters_and_kinds_of_files() -> None:
    assert parameters_of(["--arch", "l14", "--fraction=0.3"]) == {"arch": "l14", "fraction": "0.3"}
    for wrong in (["arch"], ["--arch"]):
        with pytest.raises(BadInput, match="option-unknown"):
            parameters_of(wrong)
    assert (kind_of(Path("a.py")), kind_of(Path("a.npy"))) == ("code", "uids")


def test_login_is_remembered_privately_and_its_absence_is_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATACOMP_CONFIG", str(tmp_path / "d" / "login.json"))
    monkeypatch.delenv("DATACOMP_URL", raising=False)
    with pytest.raises(BadInput, match="datacomp login"):
        Login.load()
    Login("http://h", "secret", "ada").save()
    assert Login.load() == Login("http://h", "secret", "ada")
    assert stat.S_IMODE(Login.path().stat().st_mode) == 0o600
    Login.path().write_text("{")
    with pytest.raises(BadInput, match="login-unreadable"):
        Login.load()
