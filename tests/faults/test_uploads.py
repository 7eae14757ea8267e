"""A large upload over a line that is cut again and again, and a server that is killed in the middle.

DATACOMP_FAULTS_SEED chooses where the line is cut, DATACOMP_FAULTS_COUNT how often, and DATACOMP_FAULTS_UPLOAD_MB how
much is sent.
"""

import hashlib
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil
import pytest
from cutting_proxy import CuttingProxy
from server_site import write_boards

from datacomp.client import Client
from datacomp.local.platform import free_port

pytestmark = pytest.mark.faults
SEED = int(os.environ.get("DATACOMP_FAULTS_SEED", "0"))
COUNT = int(os.environ.get("DATACOMP_FAULTS_COUNT", "20"))
MEGABYTES = int(os.environ.get("DATACOMP_FAULTS_UPLOAD_MB", "1000"))
MOST_MEMORY = 50_000_000
MOST_AGAIN = 0.02
BOARD = """
[[boards]]
name = "small-board"
title = "Small board"
scale = "tiny"
suite = "mini.json"
pool = "tiny"
max_upload_bytes = 2000000000
"""


@dataclass
class ServerProcess:
    """A server in a process of its own, which can be killed and started again, and whose memory is watched."""

    root: Path
    port: int = field(default_factory=lambda: free_port("127.0.0.1", 0))
    grown: int = 0
    """Most bytes of memory beyond what it had when it began to be watched."""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("DATACOMP_")}
        environment |= {"DATACOMP_DATA_DIR": str(self.root), "DATACOMP_BOARDS_FILE": str(self.root / "boards.toml")}
        command = [sys.executable, "-m", "datacomp", "server", "--port", str(self.port)]
        with (self.root / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while True:
            assert time.monotonic() < deadline, (self.root / "server.log").read_text()[-2000:]
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).is_success:
                    break
            except httpx.HTTPError:
                time.sleep(0.05)

    def watch(self) -> None:
        """Note from now on how much memory it uses, until it ends."""
        assert self.process is not None
        threading.Thread(target=self._watch, args=(psutil.Process(self.process.pid),), daemon=True).start()

    def start_again(self) -> None:
        """Start it and watch it."""
        self.start()
        self.watch()

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _watch(self, process: psutil.Process) -> None:
        try:
            first = process.memory_info().rss
            while True:
                self.grown = max(self.grown, process.memory_info().rss - first)
                time.sleep(0.02)
        except psutil.Error:
            return


@contextmanager
def server_process(root: Path) -> Iterator[ServerProcess]:
    write_boards(root, BOARD)
    server = ServerProcess(root)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def random_file(path: Path, size: int) -> str:
    """Write random bytes; returns their digest."""
    rng, sha = random.Random(SEED), hashlib.sha256()
    with path.open("wb") as file:
        while size:
            block = rng.randbytes(min(size, 1 << 20))
            file.write(block)
            sha.update(block)
            size -= len(block)
    return sha.hexdigest()


def upload_with_cuts(folder: Path, megabytes: int, cuts: int) -> tuple[float, int]:
    """Send a file over a line that is cut so often, kill the server half-way; returns the share of the bytes that was
    sent again, and by how much the server's memory grew."""
    size = megabytes * 1_000_000
    path = folder / "large.npy"
    digest = random_file(path, size)
    with server_process(folder) as server:
        proxy = CuttingProxy(server.port, cuts, every=size // (cuts + 1), seed=SEED)
        registered = Client(f"http://127.0.0.1:{server.port}").register("ada", "correct horse battery")
        client = Client(proxy.url, registered.token)
        client.boards()
        server.watch()  # making an account takes 64 MB for its password's hash, for a moment
        killed = threading.Event()

        def on_report(done: int, _: int) -> None:
            if done > size // 2 and not killed.is_set():
                killed.set()
                server.kill()
                threading.Thread(target=server.start_again, daemon=True).start()

        began = time.monotonic()
        receipt = client.submit(path, "small-board", report=on_report)
        seconds = time.monotonic() - began
        proxy.close()
        assert killed.is_set()
        assert proxy.done == cuts
        assert (receipt.state, receipt.digest) == ("validating", digest)
        stored = folder / "storage" / "uploads" / receipt.id / "content"
        assert stored.stat().st_size == size
        with stored.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == digest
        again = (proxy.received - size) / size
        assert [p for p in (folder / "storage").rglob("*") if p.is_file()] == [stored]
        print(
            f"upload: {megabytes} MB, {proxy.done} cuts, 1 kill, seed {SEED}: {again:.2%} sent again, "
            f"server memory +{server.grown / 1e6:.0f} MB, {seconds:.0f} s"
        )
        return again, server.grown


@pytest.mark.timeout(1800)
def test_a_gigabyte_with_twenty_cuts_and_a_killed_server(tmp_path: Path, summary: Callable[[str], None]) -> None:
    again, grown = upload_with_cuts(tmp_path, MEGABYTES, COUNT)
    summary(f"{MEGABYTES} MB, {COUNT} cuts, a killed server: {again:.2%} sent again, memory +{grown / 1e6:.0f} MB")
    assert again <= MOST_AGAIN
    assert grown < MOST_MEMORY
