"""A real platform for end-to-end tests: a small world; server, dispatcher and workers in processes of their own."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from e2e_place import Place

from datacomp.client import Client
from datacomp.local.platform import LocalPlatform

PAIRS = 2048
SANDBOX_SECONDS = "20"
"""Wall clock of participants' code: a filter that never returns should not hold up the tests for a minute."""


@pytest.fixture(scope="session")
def short_sandbox() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATACOMP_SANDBOX_SECONDS", SANDBOX_SECONDS)
        yield


@pytest.fixture(scope="session")
def place(short_sandbox: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    root = tmp_path_factory.mktemp("platform")
    home = tmp_path_factory.mktemp("home")
    pool = root / "pools" / "tiny"
    for arguments in (
        ["pool", "generate", str(pool), "--suite-dir", str(root / "suites" / "tiny"), "--pairs", str(PAIRS)],
        ["pool", "ingest", str(pool)],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "datacomp", *arguments], capture_output=True, text=True, timeout=280, check=False
        )
        assert done.returncode == 0, done.stderr
    with LocalPlatform(root, port=0) as platform:
        client = Client(platform.url)
        token = client.register("grace", "correct horse battery").token
        place = Place(platform, Client(platform.url, token), home)
        login = place.datacomp("login", platform.url, "--token", token)
        assert login.returncode == 0, login.stderr
        assert "grace" in login.stdout
        yield place
