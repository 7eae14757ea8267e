"""Child processes that are kept alive: started, logged, started again when they die, ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from datacomp.lifeline import PARENT

STOP_SECONDS = 8.0
"""How long children may take to end before they are killed."""
BACKOFF_SECONDS = (0.2, 1.0, 3.0, 10.0)
"""Pause before the next start of a child that keeps dying soon after its start."""
SETTLED_SECONDS = 20.0


@dataclass
class Child:
    """One supervised process. `arguments` follow `python -m datacomp`."""

    name: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    history: list[int] = field(default_factory=list)
    """Exit codes so far."""

    def start(self) -> None:
        """Start the process in a session of its own, so that an interrupt reaches us first. It dies with us."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "datacomp", *self.arguments]
            environment = {**os.environ, **self.environment, PARENT: str(os.getpid())}
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.started = time.monotonic()

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self.process is not None and self.process.poll() is None

    def tail(self, size: int = 2000) -> str:
        """The end of its log."""
        return self.log.read_bytes()[-size:].decode(errors="replace") if self.log.is_file() else ""


class Supervisor:
    """Keeps children running until `stop`."""

    def __init__(self) -> None:
        self.children: list[Child] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def add(self, child: Child) -> None:
        """Start a child and look after it."""
        child.start()
        self.children.append(child)
        if not self._thread.is_alive():
            self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            for child in self.children:
                if not child.running:
                    self._revive(child)

    def _revive(self, child: Child) -> None:
        if child.process is not None:
            child.history.append(child.process.returncode)
        settled = time.monotonic() - child.started > SETTLED_SECONDS
        child.deaths = 1 if settled else child.deaths + 1
        if not self._stopping.wait(BACKOFF_SECONDS[min(child.deaths, len(BACKOFF_SECONDS)) - 1]):
            child.start()

    def stop(self) -> None:
        """End all children: politely first, then by force, whole process groups."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for child in self.children:
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        while time.monotonic() < deadline and any(child.running for child in self.children):
            time.sleep(0.05)
        for child in self.children:
            _signal(child, signal.SIGKILL)
            if child.process is not None:
                child.process.wait()


def _signal(child: Child, number: signal.Signals) -> None:
    if child.process is not None:
        try:
            os.killpg(child.process.pid, number)
        except ProcessLookupError:
            return
