"""Network and files: what of the host the sandbox can reach, and that without each layer the same attempt succeeds."""

import os
import socket
import sys
from pathlib import Path

import pytest
from boxed import boxed, left_behind, require_bubblewrap

from datacomp_worker.sandbox import Layer, without
from datacomp_worker.sandbox.layers import ALL, RLIMITS, Layers
from datacomp_worker.sandbox.mounts import Mount
from datacomp_worker.sandbox.process import End

pytestmark = pytest.mark.usefixtures("_contained")


@pytest.fixture
def _contained():
    require_bubblewrap()
    with left_behind() as left:
        yield
    assert not left, "processes outlived the test"


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
        (without(Layer.NETWORK), "EPERM", "worked"),
        (without(Layer.SECCOMP), "ECONNREFUSED", "ECONNREFUSED"),
        (without(Layer.NETWORK, Layer.SECCOMP), "worked", "worked"),
    ],
)
def test_no_network(listening, layers: Layers, tcp: str, unix: str) -> None:
    assert boxed(CONNECT, *listening, layers=layers).answer == [tcp, unix]


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
    open_ = boxed(
        WRITE, "/", "/dev", "/given", mounts=mounts, layers=without(Layer.READ_ONLY, Layer.SEALED_ROOT)
    ).answer
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
    assert boxed(FILL, layers=without(Layer.SMALL_TMP)).answer == ["EFBIG", *["worked"] * 6]
    big, *small = boxed(FILL, layers=without(*RLIMITS)).answer
    assert (big, "ENOSPC" in small) == ("worked", True)


MANY_FILES = """
for n in range(1500):
    os.close(os.open(f"/tmp/{n}", os.O_CREAT))
time.sleep(1.5)
answer("worked")
"""


def test_the_number_of_files_is_bounded() -> None:
    assert boxed(MANY_FILES).outcome.end is End.FILES
    assert boxed(MANY_FILES, layers=without(Layer.WATCHED_MEMORY, Layer.WATCHED_FILES)).answer == "worked"
