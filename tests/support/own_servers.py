"""Servers that tests may kill: a PostgreSQL and a Redis of their own, each on a free port in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis


def _found(name: str) -> str:
    """The path of a server's program; without it the test is skipped, or fails where everything must run."""
    places = [shutil.which(name), *sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)]
    for place in places:
        if place:
            return str(place)
    if os.environ.get("CI") == "true":
        pytest.fail(f"{name} is not installed: continuous integration must test with it")
    pytest.skip(f"{name} is not installed")


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class OwnPostgres:
    """A cluster that may be killed. PostgreSQL refuses to run as root, so it runs as its own user then."""

    def __init__(self, folder: Path) -> None:
        self._data, self._port = folder / "pg", free_port()
        self._data.mkdir()
        folder.chmod(0o755)
        if os.getuid() == 0:
            shutil.chown(self._data, "postgres")
        self._run(_found("initdb"), "-D", str(self._data), "-U", "datacomp", "--auth=trust", "--encoding=UTF8")
        self.start()
        self._run(_found("psql"), "-q", "-h", "127.0.0.1", "-p", str(self._port), "-U", "datacomp", "-d", "postgres",
                  "-c", "create database datacomp")  # fmt: skip

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://datacomp@127.0.0.1:{self._port}/datacomp"

    def start(self) -> None:
        # fsync stays on: what was acknowledged must survive an immediate stop.
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self._port} -c unix_socket_directories= -c max_connections=200"
        )
        self._control("-w", "-l", str(self._data / "log"), "-o", options, "start")

    def kill(self) -> None:
        """As when the power goes: no connection is ended politely, nothing is written any more."""
        self._control("-m", "immediate", "stop")

    def restart(self) -> None:
        self.kill()
        self.start()

    def _control(self, *arguments: str) -> None:
        self._run(_found("pg_ctl"), "-D", str(self._data), *arguments)

    @staticmethod
    def _run(*command: str) -> None:
        user = ("runuser", "-u", "postgres", "--") if os.getuid() == 0 else ()
        # To files, not pipes: the server that pg_ctl leaves behind would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            done = subprocess.run([*user, *command], stdout=output, stderr=output, timeout=60, cwd="/", check=False)
            output.seek(0)
            assert done.returncode == 0, output.read().decode()


class OwnRedis:
    """A Redis that keeps nothing on disk: when it is killed every ring is lost."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._port}/0"

    def start(self) -> None:
        command = [_found("redis-server"), "--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        self._process = subprocess.Popen([*command, "--dir", str(self._folder)], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        with redis.Redis.from_url(self.url) as client:
            while time.monotonic() < deadline:
                try:
                    client.ping()
                except redis.ConnectionError:
                    time.sleep(0.05)
                else:
                    return
        raise AssertionError("redis did not start")

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()

    def flush(self) -> None:
        with redis.Redis.from_url(self.url) as client:
            client.flushall()


@contextmanager
def own_postgres() -> Iterator[OwnPostgres]:
    """A cluster of our own, ended and removed afterwards."""
    _found("pg_ctl")
    folder = Path(tempfile.mkdtemp(prefix="datacomp-pg-", dir="/tmp"))
    server = None
    try:
        server = OwnPostgres(folder)
        yield server
    finally:
        if server is not None:
            server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def own_redis() -> Iterator[OwnRedis]:
    """A Redis of our own, ended afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        server = OwnRedis(Path(folder))
        try:
            yield server
        finally:
            server.kill()
