"""The self-test, the ways in, and the way out when the worker dies."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from boxed import left_behind, require_bubblewrap, sleeping

from datacomp.problems import PlatformFault
from datacomp_worker.sandbox import Layer, require_sandbox, self_test, without
from datacomp_worker.sandbox import command as command_module
from datacomp_worker.sandbox.command import Entry, entry
from datacomp_worker.sandbox.layers import RLIMITS, Layers
from datacomp_worker.sandbox.mounts import Mount, require_readable

pytestmark = pytest.mark.usefixtures("_contained")


@pytest.fixture
def _contained():
    require_bubblewrap()
    with left_behind() as left:
        yield
    assert not left, "processes outlived the test"


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (without(Layer.NETWORK), "net namespace"),
        (without(Layer.PROCESSES), "pid namespace"),
        (without(*RLIMITS), "can take more memory"),
        (without(Layer.SECCOMP), "no seccomp program"),
        (without(Layer.SMALL_TMP), "larger than its limit"),
        (without(Layer.READ_ONLY, Layer.SEALED_ROOT), "can write to"),
        (without(Layer.REAL_UID), "processes: can start"),
    ],
)
def test_the_self_test_notices_a_missing_layer(layers: Layers, words: str) -> None:
    if Layer.REAL_UID not in layers and entry() is Entry.USER:
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
