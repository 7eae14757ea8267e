"""A participant's view of a running platform, for end-to-end tests."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import pytest
from tiny_world import tiny_world

from datacomp.client import Client
from datacomp.local.platform import LocalPlatform
from datacomp.messages import SubmissionOut
from datacomp_worker.world import World


@dataclass(frozen=True)
class Place:
    """The running platform and a participant's way to its command line."""

    platform: LocalPlatform
    client: Client
    home: Path

    @property
    def pool(self) -> Path:
        return self.platform.data_dir / "pools" / "tiny"

    def datacomp(self, *arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        """Run the command line as the participant does; the terminal is 200 columns wide."""
        environment = {
            **os.environ,
            "DATACOMP_CONFIG": str(self.home / "login.json"),
            "DATACOMP_DATA_DIR": str(self.platform.data_dir),
            "COLUMNS": "200",
        }
        command = [sys.executable, "-m", "datacomp", *arguments]
        return subprocess.run(
            command, env=environment, cwd=self.home, capture_output=True, text=True, timeout=timeout, check=False
        )

    def submit(self, *arguments: str) -> dict:
        """Submit through the command line; returns the receipt."""
        done = self.datacomp("submit", *arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def wait_for(self, submission: str, state: str, seconds: float = 200) -> SubmissionOut:
        """The receipt, once the submission is in a state that begins so, or in a final one."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            receipt = self.client.submission(submission)
            if receipt.state.startswith(state) or receipt.final:
                return receipt
            time.sleep(0.2)
        raise AssertionError(f"{submission} is {receipt.state}, not {state}, after {seconds} s: {receipt}")

    def end_of(self, submission: str, seconds: float = 200) -> SubmissionOut:
        """The receipt, once the submission is in its final state."""
        return self.wait_for(submission, "no state but a final one", seconds)


EXAMPLES = Path(__file__).parents[2] / "examples"
METADATA_ALONE = """
[[boards]]
name = "filtering-large"
title = "Filtering, large"
scale = "large"
suite = "tiny@2"
pool = "metadata-alone"
"""


def run(*arguments: str) -> None:
    command = [sys.executable, "-m", "datacomp", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr


def lay_out(world: World, root: Path) -> None:
    """The world's pool and suite where a platform in `root` looks for them, and a pool of its metadata alone."""
    for pool, folders in (("tiny", ("metadata", "shards")), ("metadata-alone", ("metadata",))):
        directory = root / "pools" / pool
        directory.mkdir(parents=True)
        for folder in folders:
            (directory / folder).symlink_to(world.directory / folder)
        run("pool", "ingest", str(directory))
    (root / "suites").mkdir()
    (root / "suites" / "tiny").symlink_to(world.suite_dir)


@contextmanager
def running_place(factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A platform over the tiny world, and the participant grace, logged in with her files in a home of her own."""
    root, home = factory.mktemp("platform"), factory.mktemp("home")
    lay_out(tiny_world(factory)[0], root)
    (root / "boards.toml").write_text((files("datacomp.local") / "boards.toml").read_text() + METADATA_ALONE)
    with LocalPlatform(root, port=0) as platform:
        client = Client(platform.url)
        token = client.register("grace", "correct horse battery").token
        place = Place(platform, Client(platform.url, token), home)
        login = place.datacomp("login", platform.url, "--token", token)
        assert login.returncode == 0, login.stderr
        assert "grace" in login.stdout
        yield place
