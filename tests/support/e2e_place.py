"""A participant's view of a running platform, for end-to-end tests."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from datacomp.client import Client
from datacomp.local.platform import LocalPlatform


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


PAIRS = 2048
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


@contextmanager
def running_place(root: Path, home: Path) -> Iterator[Place]:
    """A small world, a platform over it in `root`, and the participant grace, logged in with her files in `home`."""
    pool, alone = root / "pools" / "tiny", root / "pools" / "metadata-alone"
    run("pool", "generate", str(pool), "--suite-dir", str(root / "suites" / "tiny"), "--pairs", str(PAIRS))
    shutil.copytree(pool / "metadata", alone / "metadata")
    run("pool", "ingest", str(pool))
    run("pool", "ingest", str(alone))
    (root / "boards.toml").write_text((files("datacomp.local") / "boards.toml").read_text() + METADATA_ALONE)
    with LocalPlatform(root, port=0) as platform:
        client = Client(platform.url)
        token = client.register("grace", "correct horse battery").token
        place = Place(platform, Client(platform.url, token), home)
        login = place.datacomp("login", platform.url, "--token", token)
        assert login.returncode == 0, login.stderr
        assert "grace" in login.stdout
        yield place
