"""The embedded platform: one data directory, SQLite, a file broker, a server, a dispatcher and workers."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import threading
import time
from importlib.resources import files
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

import httpx

from datacomp.console import console
from datacomp.local.supervisor import Child, Supervisor
from datacomp.problems import BadInput, PlatformFault

START_SECONDS = 60.0


class LocalPlatform:
    """Starts everything on entry, ends everything on exit. Attributes are ready after entry."""

    def __init__(
        self, data_dir: Path, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 2, queues: str | None = None
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.host, self.port = host, free_port(host, port)
        self.url = f"http://{'127.0.0.1' if host in {'0.0.0.0', '::'} else host}:{self.port}"  # noqa: S104 - compared, not bound
        self.workers, self.queues = workers, queues or default_queues()
        self.supervisor = Supervisor()
        self.secrets: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.secrets = load_secrets(self.data_dir / "secrets.json")
        boards = self.data_dir / "boards.toml"
        if not boards.exists():
            boards.write_text((files("datacomp.local") / "boards.toml").read_text())
        try:
            self._start("server", "server", "--host", self.host, "--port", str(self.port))
            self._wait_until_ready()
            self._start("dispatcher", "dispatcher")
            for number in range(1, self.workers + 1):
                self._start(f"worker-{number}", "worker", "--queues", self.queues, "--name", f"local-{number}")
        except BaseException:
            self.supervisor.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.supervisor.stop()

    def environment(self) -> dict[str, str]:
        """The settings that server, dispatcher and workers share."""
        return {
            "DATACOMP_MODE": "embedded",
            "DATACOMP_DATA_DIR": str(self.data_dir),
            "DATACOMP_BOARDS_FILE": str(self.data_dir / "boards.toml"),
            "DATACOMP_BROKER_URL": "filesystem://",
            "DATACOMP_BROKER_DIR": str(self.data_dir / "broker"),
            "DATACOMP_SERVER_URL": self.url,
            "DATACOMP_PUBLIC_URL": self.url,
            "DATACOMP_WORKER_TOKEN": self.secrets["worker_token"],
            "DATACOMP_ORGANISER_TOKEN": self.secrets["organiser_token"],
            "DATACOMP_SECRET_KEY": self.secrets["secret_key"],
            # Two workers that train at once on few cores must not spin while they wait for each other.
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        }

    def announce(self) -> None:
        """Say where everything is."""
        console.print(f"web page: [bold]{self.url}[/]   data: {self.data_dir}   logs: {self.data_dir / 'logs'}")
        console.print(f"take part: datacomp login {self.url} --register")

    def keep_running(self) -> None:
        """Serve until interrupted."""
        console.print("serving; Ctrl-C ends it")
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()

    def _start(self, name: str, *arguments: str) -> None:
        self.supervisor.add(Child(name, arguments, self.environment(), self.data_dir / "logs" / f"{name}.log"))

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        server = self.supervisor.children[0]
        while time.monotonic() < deadline and len(server.history) < 3:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/readyz", timeout=2).is_success:
                    return
            time.sleep(0.1)
        raise PlatformFault.of(
            "server-not-started",
            f"the server did not come up:\n{server.tail()}",
            where=str(server.log),
            hint="see its log",
        )


def interrupt_on_sigterm() -> None:
    """Have SIGTERM end this process as Ctrl-C does, so that everything it started is ended too."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def free_port(host: str, wanted: int) -> int:
    """The wanted port when it is free, else one that is. 0 asks for any."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise BadInput.of("address-unusable", f"cannot listen on {host}", hint="give another --host")


def default_queues() -> str:
    """`cpu`, and `gpu` on a machine with an NVIDIA driver."""
    return "cpu,gpu" if shutil.which("nvidia-smi") and Path("/dev/nvidiactl").exists() else "cpu"


def load_secrets(path: Path) -> dict[str, str]:
    """This data directory's random secrets, made on first use and readable by the owner alone."""
    if not path.exists():
        made = {name: secrets.token_urlsafe(32) for name in ("worker_token", "organiser_token", "secret_key")}
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(made, file)
    found: dict[str, str] = json.loads(path.read_text())
    return found
