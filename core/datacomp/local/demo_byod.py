"""`datacomp demo-byod`: a gallery is generated and served on loopback, handed in as a dataset, fetched, and ranked."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datacomp.cli.display import leaderboard_table
from datacomp.client import Client
from datacomp.console import console
from datacomp.lifeline import PARENT
from datacomp.local.demo import Timings, make_world, require_scored, watch_all
from datacomp.local.platform import LocalPlatform
from datacomp.messages import LeaderboardOut
from datacomp.problems import PlatformFault

BOARD = "byod-tiny"
LOOPBACK = '["127.0.0.1/32"]'
START_SECONDS = 180.0


def run_demo_byod(data_dir: Path, *, port: int, stop: bool, pairs: int, pictures: int) -> LeaderboardOut:
    """Run the demo; returns the board. `PlatformFault` when the dataset did not end scored."""
    data_dir = data_dir.resolve()
    timings = Timings()
    os.environ["DATACOMP_FETCH_ALLOW"] = LOOPBACK  # the organiser of this platform allows the gallery's address
    with timings.part("Generate the tiny world"):
        make_world(data_dir, pairs)
    with timings.part("Generate and serve the gallery"):
        dataset = data_dir / "demo" / "gallery.parquet"
        gallery = serving_gallery(dataset, data_dir / "suites" / "tiny", pictures)
        gallery.__enter__()
    try:
        with timings.part("Start the platform"), LocalPlatform(data_dir, port=port) as platform:
            platform.announce()
            client = Client(platform.url, platform.secrets["organiser_token"])
            with timings.part("Hand in, fetch, decontaminate, train, evaluate"):
                description = "Pictures of the tiny world with true captions, served on loopback."
                receipt = client.submit(dataset, BOARD, method="Generated gallery", description=description)
                receipts = watch_all(client, [receipt.id])
            board = client.leaderboard(board=BOARD)
            console.print(leaderboard_table(board))
            timings.show()
            require_scored(receipts)
            if not stop:
                platform.announce()
                platform.keep_running()
    finally:
        gallery.__exit__(None, None, None)
    return board


@contextmanager
def serving_gallery(dataset: Path, suite_dir: Path, pictures: int) -> Iterator[None]:
    """A gallery in a process of its own, whose rows are in the file `dataset`."""
    dataset.unlink(missing_ok=True)
    dataset.parent.mkdir(parents=True, exist_ok=True)
    arguments = [str(dataset), "--suite-dir", str(suite_dir), "--pictures", str(pictures)]
    command = [sys.executable, "-m", "datacomp", "gallery", *arguments]
    process = subprocess.Popen(command, env=os.environ | {PARENT: str(os.getpid())}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not dataset.is_file():
            if process.poll() is not None or time.monotonic() > deadline:
                raise PlatformFault.of("gallery-not-started", "the gallery did not come up", where=str(dataset))
            time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()
