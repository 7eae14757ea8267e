"""A whole platform of real processes over a tiny pool, quick enough to be killed hundreds of times.

Two servers, two dispatchers and two workers; the workers are `quick_worker.py`. Every process is started again as soon
as it dies.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import numpy as np
import psutil
import sqlalchemy as sa
from mini_suite import SUITE
from own_servers import OwnPostgres, OwnRedis, free_port
from quick_start import Forked, Starter
from server_site import write_boards
from small_pool import SmallPool

from datacomp.client import Client
from datacomp.messages import SubmissionOut
from datacomp.pool import Pool, ingest
from datacomp.problems import DatacompError
from datacomp.uids import write_subset
from datacomp_server.database import Database
from datacomp_server.models import Submission
from datacomp_server.settings import Settings
from datacomp_server.startup import Platform, open_platform
from datacomp_server.submissions.states import FINAL

ROWS = 240
START_SECONDS = 240.0
"""How long a server may take to come up on a machine that is busy with other things."""
LEASE, HEARTBEAT = 4.0, 1.0
BOARD = """
[[boards]]
name = "small-board"
title = "Small board"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
seeds = [1, 2]
submissions_per_day = 100000
"""


@dataclass
class Kept:
    """A process that is started again when it dies."""

    name: str
    words: list[str]
    environment: dict[str, str]
    log: Path
    starter: Starter
    process: Forked = field(init=False)
    deaths: int = 0

    def start(self) -> None:
        self.process = Forked(self.starter.start(self.words, self.environment, self.log))

    def start_again(self) -> None:
        self.process.close()
        self.deaths += 1
        self.start()

    @property
    def running(self) -> bool:
        return self.process.running

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass
class QuickPlatform:
    """Starts everything on entry, ends everything on exit. On SQLite and the file broker unless given servers."""

    data_dir: Path
    postgres: OwnPostgres | None = None
    redis: OwnRedis | None = None
    servers: int = 2
    dispatchers: int = 2
    workers: int = 2
    settings: dict[str, str] = field(default_factory=dict)
    """Further environment of all processes."""
    kept: list[Kept] = field(default_factory=list)

    def __enter__(self) -> Self:
        make_pool(self.data_dir)
        write_boards(self.data_dir, BOARD)
        self.ports = [free_port() for _ in range(self.servers)]
        self._stopping = threading.Event()
        (self.data_dir / "logs").mkdir()
        self._starter = Starter()
        for number, port in enumerate(self.ports):
            self._add(f"server-{number}", ["-m", "datacomp", "server", "--port", str(port)])
            self._wait_until_ready(port)
        for number in range(self.dispatchers):
            self._add(f"dispatcher-{number}", ["-m", "datacomp", "dispatcher"])
        script = str(Path(__file__).parent / "quick_worker.py")
        for number in range(self.workers):
            server = {"DATACOMP_SERVER_URL": self.urls[number % self.servers]}
            self._add(f"worker-{number}", [script, f"quick-{number}", "cpu"], server)
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        token = Client(self.urls[0]).register("grace", "correct horse battery").token
        self.clients = [Client(url, token) for url in self.urls]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._keeper.join()
        for kept in self.kept:
            with contextlib.suppress(OSError):  # it has just ended
                kept.process.kill()
            while kept.running:
                time.sleep(0.01)
            kept.process.close()
        self._starter.end()

    @property
    def urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.ports]

    @property
    def broker(self) -> Path:
        return self.data_dir / "broker"

    def environment(self) -> dict[str, str]:
        """The settings that server, dispatcher and workers share."""
        given = {name: value for name, value in os.environ.items() if not name.startswith("DATACOMP_")}
        return given | {
            "DATACOMP_DATA_DIR": str(self.data_dir),
            "DATACOMP_BOARDS_FILE": str(self.data_dir / "boards.toml"),
            "DATACOMP_DATABASE_URL": self.postgres.url if self.postgres else "",
            "DATACOMP_BROKER_URL": self.redis.url if self.redis else "filesystem://",
            "DATACOMP_BROKER_DIR": str(self.broker),
            "DATACOMP_WORKER_TOKEN": "worker-token-of-the-fault-tests",
            "DATACOMP_ORGANISER_TOKEN": "organiser-token-of-the-fault-tests",
            "DATACOMP_LEASE_SECONDS": str(LEASE),
            "DATACOMP_HEARTBEAT_SECONDS": str(HEARTBEAT),
            "DATACOMP_RING_AGAIN_SECONDS": "1",
            "DATACOMP_MAX_ATTEMPTS": "1000",
            "DATACOMP_HELLO_SECONDS": "1",
            "DATACOMP_RATE_LIMITS": "false",
            **self.settings,
        }

    def open(self) -> Platform:
        """The same database and storage, for looking at."""
        names = {"data_dir", "database_url"}
        given = {name: self.environment()[f"DATACOMP_{name.upper()}"] for name in names}
        return open_platform(Settings(**given))

    @contextlib.contextmanager
    def database(self) -> Iterator[Database]:
        """The database, for looking at."""
        platform = self.open()
        try:
            yield platform.database
        finally:
            platform.database.close()

    def of(self, kind: str) -> list[Kept]:
        """The processes of a kind: server, dispatcher, worker."""
        return [kept for kept in self.kept if kept.name.startswith(kind)]

    def training_children(self) -> list[psutil.Process]:
        """Every training child that is alive."""
        found = []
        for kept in self.of("worker"):
            with contextlib.suppress(psutil.Error):
                found += [p for p in psutil.Process(kept.pid).children() if "quick_child" in p.cmdline()]
        return found

    def kill(self, kind: str, rng: random.Random) -> bool:
        """kill -9 of one process of a kind, or of a training child; False if none of the kind is alive."""
        alive: list[psutil.Process | Forked] = [kept.process for kept in self.of(kind) if kept.running]
        if kind == "training":
            alive = [*self.training_children()]
        if not alive:
            return False
        try:
            rng.choice(alive).kill()
        except (psutil.Error, OSError):  # it ended by itself meanwhile
            return False
        return True

    def submit(self, number: int, *, method: str = "") -> str:
        """Hand in a subset of its own, whatever the servers are going through; returns the submission's id."""
        path = self.data_dir / f"{number}.npy"
        write_subset(path, subset(self.data_dir, number))
        while True:
            for client in self.clients:
                try:
                    return client.submit(path, "small-board", method=method or f"number {number}").id
                except DatacompError:  # a server may be dead just now; what was opened meanwhile stays `uploading`
                    time.sleep(0.2)

    def receipt(self, submission: str) -> SubmissionOut | None:
        """The receipt from whichever server answers."""
        for client in self.clients:
            with contextlib.suppress(DatacompError, httpx.HTTPError):
                return client.submission(submission)
        return None

    def wait_until_final(self, ids: list[str], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        with self.database() as database:
            while missing := [state for state in states(database, ids) if state not in FINAL]:
                assert time.monotonic() < deadline, f"neither finished nor handed over: {missing}"
                time.sleep(0.3)

    def log(self, name: str) -> str:
        return (self.data_dir / "logs" / f"{name}.log").read_text(errors="replace")

    def _add(self, name: str, words: list[str], more: dict[str, str] | None = None) -> None:
        log = self.data_dir / "logs" / f"{name}.log"
        kept = Kept(name, words, self.environment() | (more or {}), log, self._starter)
        kept.start()
        self.kept.append(kept)

    def _keep(self) -> None:
        while not self._stopping.wait(0.1):
            for kept in self.kept:
                if not kept.running:
                    kept.start_again()

    def _wait_until_ready(self, port: int) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=2).is_success:
                    return
            time.sleep(0.1)
        raise AssertionError(f"the server did not come up:\n{self.log('server-0')}")


def states(database: Database, ids: list[str]) -> list[str]:
    """The states of submissions as the database has them, which nobody has to serve; ones that are missing: "lost"."""
    while True:
        try:
            with database.read() as session:
                found = session.execute(sa.select(Submission.id, Submission.state).where(Submission.id.in_(ids)))
                known = dict(found.tuples().all())
                return [known.get(name, "lost") for name in ids]
        except sa.exc.OperationalError:  # it is being restarted
            time.sleep(0.1)


def make_pool(data_dir: Path) -> None:
    """The pool `tiny` and the suite's file, as the worker looks for them."""
    directory = data_dir / "pools" / "tiny"
    SmallPool(rows=ROWS, shards=3, features=False).write(directory)
    ingest(directory, processes=1)
    (data_dir / "suites" / str(SUITE["name"])).mkdir(parents=True)


def subset(data_dir: Path, number: int) -> np.ndarray:
    """A subset of its own for every number below 2**24, so that no run is taken over from another submission."""
    uids = np.asarray(Pool.open(data_dir / "pools" / "tiny").sorted_uids)
    chosen = [(number >> bit) & 1 for bit in range(24)]
    return uids[np.resize([*chosen, 1], uids.size).astype(bool)]


def stop(kept: Kept) -> None:
    """SIGSTOP: it is there and says nothing."""
    os.kill(kept.pid, signal.SIGSTOP)


def go_on(kept: Kept) -> None:
    """SIGCONT."""
    os.kill(kept.pid, signal.SIGCONT)
